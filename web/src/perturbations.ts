/**
 * What a visitor changes in the world, by the names of the catalogue in Python.
 *
 * Each family that the page has is one record here. Name, unit and range are Python's.
 */

import type { MjModel } from "@mujoco/mujoco";
import type { Card, Catalogue, Motor } from "./card";
import type { Random } from "./random";

/** What a family does to a nominal model. */
type Edit = (model: MjModel, value: number, motor: Target) => void;

interface Target {
  /** Index of the action; null: all of them. */
  index: number | null;
  /** The joint that its motor drives. */
  joint: number | null;
  /** The angle that the joint had when the value was set. */
  angle: number;
}

export interface Record_ {
  /** What the control says. */
  label: string;
  group: "motors" | "body" | "world" | "noise" | "cues";
  /** Whether each motor has a value of its own. */
  each: boolean;
  /** How fine the control is. */
  step: number;
  edit?: Edit;
  /** Whether MuJoCo has to recompute what derives from the model. */
  constants?: boolean;
}

const AIR_DENSITY = 1.2;
const AIR_VISCOSITY = 1.8e-5;

function scale(array: Float64Array, factor: number): void {
  for (let index = 0; index < array.length; index += 1) {
    array[index] *= factor;
  }
}

/** Scales what one motor, or each, gives: gain and bias have ten numbers a motor. */
function strengthen(model: MjModel, factor: number, { index }: Target): void {
  const width = model.actuator_gainprm.length / model.nu;
  const [begin, end] = index === null ? [0, model.nu] : [index, index + 1];
  scale(model.actuator_gainprm.subarray(begin * width, end * width), factor);
  scale(model.actuator_biasprm.subarray(begin * width, end * width), factor);
}

/** Narrows the range of a joint, which has one, around the angle that it has. */
function lock(model: MjModel, value: number, { joint, angle }: Target): void {
  if (joint === null) {
    return;
  }
  const range: Float64Array = model.jnt_range.subarray(2 * joint, 2 * joint + 2);
  const [low, high] = range;
  const middle = Math.min(Math.max(angle, low), high);
  range[0] = middle + (1 - value) * (low - middle);
  range[1] = middle + (1 - value) * (high - middle);
}

/** Turns gravity, as Rodrigues' formula has it, from downwards to a level direction. */
function tilt(model: MjModel, degrees: number, towards: [number, number]): void {
  const gravity: Float64Array = model.opt.gravity;
  const angle = (degrees * Math.PI) / 180;
  const axis = [towards[1], -towards[0], 0]; // down x towards
  const [x, y, z] = gravity;
  const along = axis[0] * x + axis[1] * y;
  const cross = [axis[1] * z, -axis[0] * z, axis[0] * y - axis[1] * x];
  const shrink = Math.cos(angle) - 1;
  const turned = Math.sin(angle);
  gravity[0] += (x - axis[0] * along) * shrink + cross[0] * turned;
  gravity[1] += (y - axis[1] * along) * shrink + cross[1] * turned;
  gravity[2] += z * shrink + cross[2] * turned;
}

export const RECORDS: Record<string, Record_> = {
  motor_signs: { label: "Flip motors", group: "motors", each: true, step: 1 },
  motor_order: { label: "Order of the motors", group: "motors", each: false, step: 1 },
  strength: {
    label: "Strength",
    group: "body",
    each: true,
    step: 0.05,
    constants: true,
    edit: strengthen,
  },
  joint_lock: { label: "Locked", group: "body", each: true, step: 0.05, edit: lock },
  mass: {
    label: "Mass",
    group: "body",
    each: false,
    step: 0.1,
    constants: true,
    edit: (model, value) => {
      scale(model.body_mass, value);
      scale(model.body_inertia, value);
    },
  },
  slope: {
    label: "Slope, uphill",
    group: "world",
    each: false,
    step: 1,
    edit: (model, value) => {
      tilt(model, value, [-1, 0]);
    },
  },
  gravity_tilt: {
    label: "Gravity, to the side",
    group: "world",
    each: false,
    step: 1,
    edit: (model, value) => {
      tilt(model, value, [0, 1]);
    },
  },
  gravity: {
    label: "Gravity",
    group: "world",
    each: false,
    step: 0.05,
    edit: (model, value) => {
      scale(model.opt.gravity, value);
    },
  },
  wind: {
    label: "Wind, from ahead",
    group: "world",
    each: false,
    step: 1,
    edit: (model, value) => {
      model.opt.wind[0] -= value;
      model.opt.density = Math.max(model.opt.density, AIR_DENSITY);
      model.opt.viscosity = Math.max(model.opt.viscosity, AIR_VISCOSITY);
    },
  },
  friction: {
    label: "Friction",
    group: "world",
    each: false,
    step: 0.05,
    edit: (model, value) => {
      scale(model.geom_friction, value);
    },
  },
  viscosity: {
    label: "Thicker air or water",
    group: "world",
    each: false,
    step: 0.01,
    edit: (model, value) => {
      model.opt.viscosity += value;
    },
  },
  obs_noise: { label: "Noisy senses", group: "noise", each: false, step: 0.05 },
  action_noise: { label: "Noisy motors", group: "noise", each: false, step: 0.05 },
};

/** The families that a policy's task has and the page too, in the page's order. */
export function familiesOf(card: Card): string[] {
  return Object.keys(RECORDS).filter((name) => card.families.includes(name));
}

/** A word that a text may name, with the value that it has now. */
interface Setting {
  family: string;
  motor: number | null;
  value: number;
  angle: number;
}

/** The world of one stage: what holds for the robot and its twin. */
export class World {
  /** 1 or -1 for each motor. */
  signs: number[];
  /** Motor i gets what is meant for motor order[i]. */
  order: number[];
  private settings = new Map<string, Setting>();
  /** Counts the changes of what is written into the model. */
  changes = 0;

  constructor(
    private readonly catalogue: Catalogue,
    private readonly motors: Motor[],
    private readonly spread: number[],
  ) {
    this.signs = motors.map(() => 1);
    this.order = motors.map((_, index) => index);
  }

  value(family: string, motor: number | null = null): number {
    const found = this.settings.get(key(family, motor));
    return found === undefined ? this.catalogue[family].nominal : found.value;
  }

  set(family: string, value: number, motor: number | null = null, angle = 0): void {
    if (value === this.catalogue[family].nominal) {
      this.settings.delete(key(family, motor));
    } else {
      this.settings.set(key(family, motor), { family, motor, value, angle });
    }
    this.changes += 1;
  }

  flip(motor: number): void {
    this.signs[motor] *= -1;
    this.changes += 1;
  }

  flipAll(): void {
    this.signs = this.signs.map((sign) => -sign);
    this.changes += 1;
  }

  /** Another order, in which no motor keeps its place. */
  shuffle(random: Random): void {
    const size = this.order.length;
    let order = random.permutation(size);
    while (order.some((meant, index) => meant === index)) {
      order = random.permutation(size);
    }
    this.order = order;
    this.changes += 1;
  }

  restore(): void {
    this.signs = this.signs.map(() => 1);
    this.order = this.order.map((_, index) => index);
    this.settings.clear();
    this.changes += 1;
  }

  /** What the policy sees of what its task observes. */
  seen(observation: Float64Array, random: Random): Float64Array {
    const size = this.value("obs_noise");
    if (size === 0) {
      return observation;
    }
    return observation.map(
      (x, index) => x + size * this.spread[index] * random.normal(),
    );
  }

  /** What of an action arrives in the task: noise, signs and order, in this turn. */
  arrived(action: number[], random: Random): number[] {
    const size = this.motors.length > 0 ? this.value("action_noise") : 0;
    let arrived = action;
    if (size > 0) {
      arrived = arrived.map((x) => x + size * random.normal());
    }
    arrived = arrived.map((x, index) => x * (this.signs[index] ?? 1));
    if (this.motors.length > 0) {
      arrived = this.order.map((meant) => arrived[meant]);
    }
    return size > 0 ? arrived.map((x) => Math.min(Math.max(x, -1), 1)) : arrived;
  }

  /** Changes a nominal model; returns whether its constants have to be recomputed. */
  edit(model: MjModel): boolean {
    let constants = false;
    for (const { family, motor, value, angle } of this.settings.values()) {
      const record = RECORDS[family];
      const joint = motor === null ? null : this.motors[motor].joint;
      record.edit?.(model, value, { index: motor, joint, angle });
      constants ||= record.constants === true;
    }
    return constants;
  }

  /** The text that `--perturb` takes for the same; empty where nothing is changed. */
  text(): string {
    const terms: string[] = [];
    const code = this.signs.reduce(
      (sum, sign, bit) => sum + (sign < 0 ? 2 ** bit : 0),
      0,
    );
    if (code > 0) {
      terms.push(`motor_signs=${String(code)}`);
    }
    const rank = rankOf(this.order);
    if (rank > 0) {
      terms.push(`motor_order=${String(rank)}`);
    }
    for (const { family, motor, value } of this.settings.values()) {
      const target = motor === null ? "" : `:${this.motors[motor].name}`;
      terms.push(`${family}${target}=${String(value)}`);
    }
    return terms.join(" + ");
  }
}

function key(family: string, motor: number | null): string {
  return motor === null ? family : `${family}:${String(motor)}`;
}

/** The place of an order among all, as words in a dictionary: its code in Python. */
export function rankOf(order: number[]): number {
  const left = [...order].sort((one, other) => one - other);
  let rank = 0;
  for (const number of order) {
    const place = left.indexOf(number);
    left.splice(place, 1);
    rank = rank * (left.length + 1) + place;
  }
  return rank;
}

/** The order with a code, of so many numbers. */
export function orderOf(code: number, size: number): number[] {
  const places: number[] = [];
  for (let base = 1; base <= size; base += 1) {
    places.unshift(code % base);
    code = Math.floor(code / base);
  }
  const left = Array.from({ length: size }, (_, index) => index);
  return places.map((place) => left.splice(place, 1)[0]);
}
