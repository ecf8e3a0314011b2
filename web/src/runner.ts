/** One robot with one policy, and the stage on which it runs beside its twin. */

import { Brain, type Network, type Plasticity } from "./brain";
import type { Card, Catalogue } from "./card";
import { World } from "./perturbations";
import { Random } from "./random";
import { Robot, makeTask, type Task } from "./tasks";
import type { Mujoco } from "./physics";

/** What came of one step. */
export interface Moment {
  step: number;
  reward: number;
  action: number[];
  fell: boolean;
  correct: boolean | null;
}

/** What a drawing shows of the layer that is drawn; empty where there is none of it. */
export interface Layer {
  spikes: Float32Array;
  modulator: Float32Array;
  fastWeights: Float32Array;
}

const THRESHOLD = 1;

/** An action as the policy sees it in the next step: choices are one-hot. */
export function asObserved(action: number[], task: Card["task"]): number[] {
  return task.kind === "board"
    ? Array.from({ length: task.actions }, (_, choice) => Number(choice === action[0]))
    : action;
}

export class Runner {
  readonly brain: Brain;
  readonly task: Task;
  private previous: number[] = [];
  private random = new Random(0);
  private changes = -1;
  private doing: number[] = [];
  private step = 0;
  private seed = 0;
  /** Episodes that ended with a fall. */
  falls = 0;

  constructor(
    network: Network,
    mujoco: Mujoco | null,
    xml: string,
    private readonly card: Card,
    private readonly world: World,
  ) {
    this.brain = new Brain(network);
    this.task = makeTask(mujoco, xml, card.task);
  }

  /** An episode starts: posture, cues and noise are those of the seed. */
  reset(seed: number): void {
    this.seed = seed;
    this.random = new Random(seed + 0x0015e);
    this.task.reset(seed);
    this.begin();
    this.falls = 0;
  }

  /** An episode starts in a posture. */
  place(positions: number[], velocities: number[]): void {
    if (this.task instanceof Robot) {
      this.task.place(positions, velocities);
    }
    this.begin();
  }

  private begin(): void {
    const { task } = this.card;
    const channels = task.kind === "board" ? task.actions : task.motors.length;
    this.previous = new Array<number>(channels + 1).fill(0);
    this.brain.reset();
    this.changes = -1;
    this.step = 0;
  }

  /** The policy looks, and decides what it does in this step. */
  async decide(): Promise<void> {
    const { task, world } = this;
    if (task instanceof Robot && this.changes !== world.changes) {
      task.physics.apply(world);
      this.changes = world.changes;
    }
    const seen = world.seen(task.observe(), this.random);
    const observation = this.card.previous
      ? Float64Array.from([...seen, ...this.previous])
      : seen;
    this.doing = await this.brain.act(observation);
    const isChoice = this.card.task.kind === "board";
    task.begin(isChoice ? this.doing : world.arrived(this.doing, this.random));
  }

  /** Ends the step; a robot that fell starts again, with nothing learned. */
  finish(): Moment {
    const { reward, over, correct } = this.task.end();
    this.previous = [...asObserved(this.doing, this.card.task), reward];
    const moment = { step: this.step, reward, action: this.doing, fell: over, correct };
    this.step += 1;
    if (over) {
      const falls = this.falls + 1;
      this.seed += 1;
      this.task.reset(this.seed);
      this.begin();
      this.falls = falls;
    }
    return moment;
  }

  get layer(): Layer {
    const { layer } = this.card;
    const field = (kind: string): Float32Array =>
      layer === null ? new Float32Array(0) : this.brain.field(`${layer.name}.${kind}`);
    const potentials =
      layer?.spikes === true ? field("potential") : new Float32Array(0);
    const modulators = field("modulation");
    const last = layer === null ? 0 : modulators.length - layer.neurons;
    return {
      spikes: potentials.map((potential) => (potential > THRESHOLD ? 1 : 0)),
      modulator: modulators.subarray(Math.max(last, 0)),
      fastWeights: field("fast_weights"),
    };
  }
}

/** What pulls or pushes the robots. */
export interface Hand {
  body: number;
  /** In N. */
  force: [number, number, number];
  /** Parts of a step that it goes on for; null: until it is taken away. */
  left: number | null;
}

const PUSH_SECONDS = 0.2;
const PUSH_WEIGHTS = 1.5;
const PULL_WEIGHTS = 3; // at most

/** What the page shows: a robot, its twin without plasticity, and the world of both. */
export class Stage {
  readonly world: World;
  readonly plastic: Runner;
  readonly twin: Runner | null;
  /** Steps since the start. */
  steps = 0;
  private part = 0;
  seed = 0;
  private hand: Hand | null = null;

  constructor(
    readonly card: Card,
    catalogue: Catalogue,
    private readonly network: Network,
    mujoco: Mujoco | null,
    xml: string,
  ) {
    const motors = card.task.kind === "board" ? [] : card.task.motors;
    this.world = new World(catalogue, motors, card.spread);
    const make = (): Runner => new Runner(network, mujoco, xml, card, this.world);
    this.plastic = make();
    this.twin = card.layer?.plastic === true ? make() : null;
    if (this.twin !== null) {
      this.twin.brain.plasticity = "off";
    }
    this.restart(0);
  }

  get runners(): Runner[] {
    return this.twin === null ? [this.plastic] : [this.plastic, this.twin];
  }

  /** Seconds of one of the parts that a step has. */
  get seconds(): number {
    return this.plastic.task.seconds / this.plastic.task.parts;
  }

  get plasticity(): Plasticity {
    return this.plastic.brain.plasticity;
  }

  set plasticity(mode: Plasticity) {
    this.plastic.brain.plasticity = mode;
  }

  /**
   * Pulls a body of robot and twin towards a hand, so many m away; null: lets go.
   */
  pull(body: number, metres: [number, number, number] | null): void {
    if (metres === null) {
      this.hand = null;
      return;
    }
    const length = Math.hypot(...metres);
    const strength =
      (this.weight * Math.min(2 * length, PULL_WEIGHTS)) / Math.max(length, 1e-9);
    const [x, y, z] = metres;
    this.hand = { body, force: [x * strength, y * strength, z * strength], left: null };
  }

  /** A push on (1) or back (-1), as the catalogue has them. */
  push(way: number): void {
    const left = Math.max(1, Math.round(PUSH_SECONDS / this.seconds));
    this.hand = { body: 1, force: [way * PUSH_WEIGHTS * this.weight, 0, 0], left };
  }

  /** In N, of one robot; of one that swims, too. */
  private get weight(): number {
    const { task } = this.plastic;
    return task instanceof Robot ? 9.81 * task.physics.mass : 0;
  }

  private feel({ task }: Runner): void {
    if (task instanceof Robot) {
      const { hand } = this;
      task.physics.pull(hand?.body ?? 0, hand?.force ?? null);
    }
  }

  restart(seed: number): void {
    this.hand = null;
    this.seed = seed;
    this.steps = 0;
    this.part = 0;
    for (const runner of this.runners) {
      runner.reset(seed);
    }
  }

  /** One part of a step; the moments of robot and twin where it was the last part. */
  async advance(): Promise<Moment[] | null> {
    const { runners } = this;
    if (this.part === 0) {
      for (const runner of runners) {
        await runner.decide();
      }
    }
    for (const runner of runners) {
      this.feel(runner);
      runner.task.advance();
    }
    if (this.hand?.left === 1) {
      this.hand = null;
    } else if (this.hand !== null && this.hand.left !== null) {
      this.hand.left -= 1;
    }
    this.part += 1;
    if (this.part < this.plastic.task.parts) {
      return null;
    }
    this.part = 0;
    this.steps += 1;
    return runners.map((runner) => runner.finish());
  }

  /** A whole step. */
  async step(): Promise<Moment[]> {
    let moments: Moment[] | null = null;
    while (moments === null) {
      moments = await this.advance();
    }
    return moments;
  }

  /** Gives back the memory of MuJoCo and of the network. */
  delete(): void {
    for (const { task } of this.runners) {
      if (task instanceof Robot) {
        task.physics.delete();
      }
    }
    void this.network.close();
  }
}
