/** The tasks: what is observed, what is earned, when an episode is over. */

import type { BoardCard, LessonCard, RobotCard, TaskCard } from "./card";
import { Physics, type Mujoco } from "./physics";
import { Random } from "./random";

export interface Outcome {
  reward: number;
  /** Whether the robot fell, so that the episode is over. */
  over: boolean;
  /** Whether the answer was right, at the end of a trial that asks; else null. */
  correct: boolean | null;
}

export interface Task {
  /** Seconds of a step as the visitor sees it. */
  readonly seconds: number;
  /** Steps of the simulator in a step of the environment. */
  readonly parts: number;
  reset(seed: number): void;
  observe(): Float64Array;
  /** Begins a step with an action, as it arrives. */
  begin(action: number[]): void;
  /** One of its parts. */
  advance(): void;
  /** Ends the step. */
  end(): Outcome;
}

function within(
  x: number,
  range: [number | null, number | null] | null,
  ends = false,
): boolean {
  if (range === null) {
    return true;
  }
  const low = range[0] ?? -Infinity;
  const high = range[1] ?? Infinity;
  return ends ? low <= x && x <= high : low < x && x < high;
}

/** One of Gymnasium's robots, version 5. */
export class Robot implements Task {
  readonly physics: Physics;
  readonly seconds: number;
  readonly parts: number;
  protected action: number[];
  private before = 0;
  /** Along x, in m/s, over the last step. */
  velocity = 0;

  constructor(
    mujoco: Mujoco,
    xml: string,
    readonly card: RobotCard | LessonCard,
  ) {
    this.physics = new Physics(mujoco, xml);
    this.parts = card.frame_skip;
    this.seconds = card.frame_skip * this.physics.timestep;
    this.action = card.motors.map(() => 0);
  }

  reset(seed: number): void {
    const { card } = this;
    const random = new Random(seed);
    const noise = card.reset_noise;
    const shift = (): number => random.between(-noise, noise);
    const kick =
      card.velocity_noise === "normal" ? () => noise * random.normal() : shift;
    const positions = card.initial_positions.map((x) => x + shift());
    this.place(
      positions,
      card.initial_velocities.map((x) => x + kick()),
    );
  }

  /** Starts an episode in a posture. */
  place(positions: number[], velocities: number[]): void {
    this.physics.reset(positions, velocities);
    this.velocity = 0;
  }

  observe(): Float64Array {
    const { card } = this;
    const { data } = this.physics;
    const limit = card.velocity_limit ?? Infinity;
    const velocities = Array.from(data.qvel as Float64Array, (x) =>
      clip(x, -limit, limit),
    );
    const forces = card.observes_forces ? this.forces().slice(6) : [];
    return Float64Array.from([
      ...data.qpos.slice(card.skipped),
      ...velocities,
      ...forces,
    ]);
  }

  begin(action: number[]): void {
    this.action = action;
    this.before = this.where();
  }

  advance(): void {
    this.physics.step(this.action);
  }

  end(): Outcome {
    const { card } = this;
    this.physics.finish();
    this.velocity = (this.where() - this.before) / this.seconds;
    const healthy = this.healthy();
    const effort = this.action.reduce((sum, x) => sum + x * x, 0);
    const contact =
      card.contact_cost > 0 ? this.forces().reduce((sum, x) => sum + x * x, 0) : 0;
    const reward =
      card.forward_weight * this.paid(this.velocity) +
      (healthy ? card.healthy_reward : 0) -
      card.control_cost * effort -
      card.contact_cost * contact;
    return { reward, over: card.ends_unhealthy && !healthy, correct: null };
  }

  /** The speed that is paid for. */
  protected paid(velocity: number): number {
    return velocity;
  }

  private where(): number {
    const { data } = this.physics;
    return this.card.place === "qpos"
      ? data.qpos[0]
      : data.xpos[3 * this.card.main_body];
  }

  private forces(): number[] {
    const [low, high] = this.card.force_range ?? [-Infinity, Infinity];
    const all: Float64Array = this.physics.data.cfrc_ext;
    return Array.from(all, (x) => clip(x, low, high));
  }

  private healthy(): boolean {
    const { card } = this;
    const { data } = this.physics;
    const state = [...data.qpos, ...data.qvel] as number[];
    const upright =
      card.angle === null || within(data.qpos[card.angle], card.angle_range);
    const high =
      card.height === null ||
      within(data.qpos[card.height], card.height_range, card.ends_included);
    const mild = state.slice(2).every((x) => within(x, card.state_range));
    return upright && high && mild && state.every(Number.isFinite);
  }
}

/** What a trial shows: a cue, and whether its direction is told. */
export interface Trial {
  cue: number;
  told: boolean;
}

/**
 * A robot that runs where a cue says, which it is told once.
 *
 * An episode in Python has twelve trials. Here they go on for as long as anybody
 * watches: each cue is told once, then asked for in random order. The visitor may tell,
 * ask or swap.
 */
export class Lesson extends Robot {
  private random = new Random(0);
  private patterns: number[][] = [];
  /** 1 for forward, -1 for backward, of each cue. */
  meaning: number[] = [];
  trial: Trial = { cue: 0, told: true };
  private queue: Trial[] = [];
  private phase = 0;
  private distance = 0;

  constructor(
    mujoco: Mujoco,
    xml: string,
    readonly lesson: LessonCard,
  ) {
    super(mujoco, xml, lesson);
  }

  override reset(seed: number): void {
    super.reset(seed);
    const { cues, bits } = this.lesson;
    this.random = new Random(seed + 0x5eed);
    const codes = this.random.permutation(2 ** bits).slice(0, cues);
    this.patterns = codes.map((code) => {
      return Array.from({ length: bits }, (_, bit) => (code >> bit) & 1);
    });
    const turned = this.random.whole(2);
    const order = this.random.permutation(cues);
    this.meaning = order.map((rank) => ((rank + turned) % 2 === 0 ? 1 : -1));
    this.queue = [];
    this.swapped = false;
    this.tellAll();
    this.next();
  }

  /** The next trials tell each cue once, in random order. */
  tellAll(): void {
    const cues = this.random.permutation(this.lesson.cues);
    this.queue.unshift(...cues.map((cue) => ({ cue, told: true })));
  }

  /** The next trial shows this cue. */
  ask(cue: number): void {
    this.queue.unshift({ cue, told: false });
  }

  /** The next trial shows this cue, and tells what it means. */
  tell(cue: number): void {
    this.queue.unshift({ cue, told: true });
  }

  /** From the next trial on each cue means the other direction, and is told again. */
  swap(): void {
    this.queue = [];
    this.swapped = !this.swapped;
    this.tellAll();
  }

  private swapped = false;

  /** Where the present trial asks the robot to run: 1 or -1. */
  get direction(): number {
    return this.meaning[this.trial.cue];
  }

  override observe(): Float64Array {
    const told = this.trial.told ? this.direction : 0;
    return Float64Array.from([
      ...super.observe(),
      ...this.patterns[this.trial.cue],
      told,
    ]);
  }

  override end(): Outcome {
    const outcome = super.end();
    if (this.phase >= this.lesson.settle_length) {
      this.distance += this.direction * this.velocity;
    }
    this.phase += 1;
    if (this.phase === this.lesson.trial_steps) {
      outcome.correct = this.trial.told ? null : this.distance > 0;
      this.next();
    }
    return outcome;
  }

  protected override paid(velocity: number): number {
    return Math.min(this.direction * velocity, this.lesson.speed_limit ?? Infinity);
  }

  private next(): void {
    if (this.swapped) {
      this.meaning = this.meaning.map((way) => -way);
      this.swapped = false;
    }
    const asked = { cue: this.random.whole(this.lesson.cues), told: false };
    this.trial = this.queue.shift() ?? asked;
    this.phase = 0;
    this.distance = 0;
  }
}

/** What the board shows at a step. */
export type BoardPhase = "cue" | "feedback" | "delay";

/**
 * Cue association: which action does each of a few new cues ask for?
 *
 * An episode in Python has ten trials; here they go on.
 */
export class Board implements Task {
  readonly seconds = 0.3;
  readonly parts = 1;
  private random = new Random(0);
  patterns: number[][] = [];
  meaning: number[] = [];
  cue = 0;
  answer: number | null = null;
  right = false;
  phase: BoardPhase = "cue";
  /** Whether each trial was answered rightly, the latest last. */
  answers: boolean[] = [];
  private step = 0;
  private action = 0;
  private queue: number[] = [];

  constructor(readonly card: BoardCard) {}

  reset(seed: number): void {
    const { cues, bits, actions } = this.card;
    this.random = new Random(seed + 0xb0a2d);
    this.patterns = [];
    while (this.patterns.length < cues) {
      const pattern = Array.from({ length: bits }, () => this.random.whole(2));
      if (!this.patterns.some((other) => other.join("") === pattern.join(""))) {
        this.patterns.push(pattern);
      }
    }
    const first = this.random.permutation(actions);
    this.meaning = this.random.permutation(cues).map((rank) => first[rank % actions]);
    this.answers = [];
    this.queue = [];
    this.next();
  }

  /** The next trial shows this cue. */
  ask(cue: number): void {
    this.queue.unshift(cue);
  }

  /** From now on each cue asks for the next action, which nobody tells. */
  swap(): void {
    this.meaning = this.meaning.map((action) => (action + 1) % this.card.actions);
  }

  observe(): Float64Array {
    const { bits, actions, cue_length } = this.card;
    const seen = new Float64Array(bits + actions + 2);
    if (this.phase === "cue") {
      seen.set(this.patterns[this.cue]);
      seen[bits] = this.step === cue_length - 1 ? 1 : 0;
    }
    if (this.phase === "feedback" && this.answer !== null) {
      seen[bits + 1 + this.answer] = 1;
      seen[bits + 1 + actions] = this.right ? 1 : -1;
    }
    return seen;
  }

  begin(action: number[]): void {
    this.action = action[0];
  }

  advance(): void {
    // nothing moves
  }

  end(): Outcome {
    const { cue_length, feedback_length, delay_length } = this.card;
    const outcome: Outcome = { reward: 0, over: false, correct: null };
    if (this.step === cue_length - 1) {
      this.answer = this.action;
      this.right = this.action === this.meaning[this.cue];
      outcome.correct = this.right;
      outcome.reward = this.right ? 1 : -1;
      this.answers.push(this.right);
    }
    this.step += 1;
    if (this.step === cue_length + feedback_length + delay_length) {
      this.next();
    } else if (this.step >= cue_length + feedback_length) {
      this.phase = "delay";
    } else if (this.step >= cue_length) {
      this.phase = "feedback";
    }
    return outcome;
  }

  private next(): void {
    this.cue = this.queue.shift() ?? this.random.whole(this.card.cues);
    this.step = 0;
    this.phase = "cue";
    this.answer = null;
  }
}

export function makeTask(mujoco: Mujoco | null, xml: string, card: TaskCard): Task {
  if (card.kind === "board") {
    return new Board(card);
  }
  if (mujoco === null) {
    throw new Error("a robot needs MuJoCo");
  }
  return card.kind === "lesson"
    ? new Lesson(mujoco, xml, card)
    : new Robot(mujoco, xml, card);
}

function clip(x: number, low: number, high: number): number {
  return Math.min(Math.max(x, low), high);
}
