/** What Python writes down about a policy and its task (`export/page.py`). */

export interface Motor {
  name: string;
  /** The joint that it drives; null where it drives something else. */
  joint: number | null;
}

type Range = [number | null, number | null] | null;

/** The numbers of one of Gymnasium's robots, as its own class has them. */
export interface RobotNumbers {
  frame_skip: number;
  initial_positions: number[];
  initial_velocities: number[];
  reset_noise: number;
  velocity_noise: "normal" | "uniform";
  place: "qpos" | "body";
  main_body: number;
  skipped: number;
  velocity_limit: number | null;
  observes_forces: boolean;
  force_range: [number, number] | null;
  forward_weight: number;
  control_cost: number;
  contact_cost: number;
  healthy_reward: number;
  ends_unhealthy: boolean;
  height: number | null;
  height_range: Range;
  ends_included: boolean;
  angle: number | null;
  angle_range: Range;
  state_range: Range;
  motors: Motor[];
}

export interface RobotCard extends RobotNumbers {
  kind: "robot";
}

export interface LessonCard extends RobotNumbers {
  kind: "lesson";
  cues: number;
  bits: number;
  trial_steps: number;
  cue_length: number;
  settle_length: number;
  speed_limit: number | null;
}

export interface BoardCard {
  kind: "board";
  cues: number;
  bits: number;
  actions: number;
  cue_length: number;
  feedback_length: number;
  delay_length: number;
}

export type TaskCard = RobotCard | LessonCard | BoardCard;

export interface LayerCard {
  name: string;
  spikes: boolean;
  plastic: boolean;
  modulated: boolean;
  ticks: number;
  neurons: number;
  inputs: number;
}

export interface Card {
  name: string;
  title: string;
  policy: string;
  environment: string;
  previous: boolean;
  float: "float32" | "float64";
  state: Record<string, number[]> | null;
  layer: LayerCard | null;
  scores: Record<string, string>[];
  task: TaskCard;
  families: string[];
  spread: number[];
}

/** A family of perturbations, as the catalogue in Python has it. */
export interface Family {
  group: string;
  summary: string;
  unit: string;
  nominal: number;
  hardest: number;
  other: number | null;
  whole: boolean;
}

export type Catalogue = Record<string, Family>;

/** A perturbation that holds from the start: `spikepropamine play --perturb`. */
export interface StartTerm {
  family: string;
  target: string | null;
  value: number;
}

export interface Index {
  policies: string[];
  catalogue: Catalogue;
  perturb?: StartTerm[];
  /** Where Python steps the task: the port of its web socket on this machine. */
  live?: number;
}
