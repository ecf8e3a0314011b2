/** Guided scenes, half a minute each: what to try, and what to look for. */

import type { Stage } from "./runner";
import { Board, Lesson } from "./tasks";

interface Turn {
  /** Seconds of the robot's time after the scene's start. */
  at: number;
  say: string;
  do?: (stage: Stage) => void;
}

export interface Scene {
  id: string;
  title: string;
  summary: string;
  /** A part of the name of the policy. */
  policy: string;
  seed: number;
  turns: Turn[];
}

function lessons(stage: Stage): Lesson[] {
  return stage.runners.map(({ task }) => task).filter((task) => task instanceof Lesson);
}

export const SCENES: Scene[] = [
  {
    id: "told-once",
    title: "Told once",
    summary: "One word, one showing, and it knows.",
    policy: "cue-lesson",
    seed: 3,
    turns: [
      {
        at: 0,
        say:
          "Two cues, A and B. One means forward, one backward; it is new every time. " +
          "Each is told once.",
      },
      {
        at: 4,
        say:
          "From here on the cue alone is shown. The robot remembers; its twin, " +
          "without plasticity, guesses.",
      },
      {
        at: 12,
        say:
          "Now the meanings are swapped, and told once more. Watch the fast weights " +
          "being written over.",
        do: (stage) => {
          for (const lesson of lessons(stage)) {
            lesson.swap();
          }
        },
      },
      {
        at: 22,
        say: "The plug is pulled. What it had learned is gone: now both of them guess.",
        do: (stage) => {
          stage.plasticity = "off";
        },
      },
    ],
  },
  {
    id: "hidden-signs",
    title: "Hidden signs",
    summary: "All motors are reversed. It finds out.",
    policy: "motor-signs-alone",
    seed: 1,
    turns: [
      {
        at: 0,
        say:
          "Nobody tells this robot how its motors are wired. It tries, feels, and " +
          "finds out in a second or two.",
      },
      {
        at: 9,
        say:
          "All six motors are flipped: each does the opposite. Nothing tells it; its " +
          "pace breaks down.",
        do: (stage) => {
          stage.world.flipAll();
        },
      },
      {
        at: 14,
        say:
          "It has learned the new wiring, and runs as fast as before. Its twin never " +
          "gets going.",
      },
      {
        at: 20,
        say:
          "The plug is pulled: the same robot, the same weights, but nothing " +
          "learned. It stops.",
        do: (stage) => {
          stage.plasticity = "off";
        },
      },
      {
        at: 25,
        say: "Plugged in again, it learns anew.",
        do: (stage) => {
          stage.plasticity = "on";
        },
      },
    ],
  },
  {
    id: "no-help",
    title: "Where it does not help",
    summary: "The honest one: nothing is hidden.",
    policy: "robots/HalfCheetah",
    seed: 1,
    turns: [
      {
        at: 0,
        say:
          "This robot sees all that it needs, and nothing is hidden. Its twin " +
          "without plasticity runs about as fast.",
      },
      {
        at: 10,
        say:
          "The plug is pulled, and little happens. Its synapses had next to nothing " +
          "to learn.",
        do: (stage) => {
          stage.plasticity = "off";
        },
      },
      {
        at: 17,
        say:
          "Plugged in again, and all motors are flipped. It was never trained for " +
          "that.",
        do: (stage) => {
          stage.plasticity = "on";
          stage.world.flipAll();
        },
      },
      {
        at: 23,
        say:
          "Plasticity does not save it: what is learned inside an episode is what " +
          "training made it learn.",
      },
    ],
  },
];

export const LENGTH = 30; // seconds of a scene

/** A scene that plays. */
export class Play {
  private next = 0;
  private seconds = 0;

  constructor(readonly scene: Scene) {}

  get progress(): number {
    return this.seconds;
  }

  get over(): boolean {
    return this.seconds >= LENGTH;
  }

  /** Lets a step's time pass; returns what is said from now on; null: nothing new. */
  advance(seconds: number, stage: Stage): string | null {
    this.seconds += seconds;
    const turn = this.scene.turns[this.next];
    if (turn === undefined || turn.at > this.seconds) {
      return null;
    }
    this.next += 1;
    turn.do?.(stage);
    return turn.say;
  }

  /** Whether the turn that has just begun changed something. */
  get changed(): boolean {
    return this.scene.turns[this.next - 1]?.do !== undefined;
  }
}

/** Cues of a task that has some. */
export function cueTasks(stage: Stage): (Lesson | Board)[] {
  return stage.runners
    .map(({ task }) => task)
    .filter((task) => task instanceof Lesson || task instanceof Board);
}
