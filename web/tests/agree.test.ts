/**
 * The page does what Python does.
 *
 * `tests/test_page.py` writes what Python did in 200 steps into the folder that AGREE
 * names, and reads how far the page is from that.
 */

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Stage } from "../src/runner";
import { Robot } from "../src/tasks";
import { load } from "./load";

interface Trace {
  positions: number[];
  velocities: number[];
  observations: number[][];
  actions: number[][];
  rewards: number[];
  states: number[][];
  /** What MuJoCo's solver begins with, and where bodies are, after each step. */
  warmstarts: number[][];
  places: number[][];
}

const FOLDER = process.env.AGREE;
const places =
  FOLDER === undefined ? [] : readdirSync(FOLDER).filter((x) => !x.includes("."));

function apart(one: ArrayLike<number>, other: ArrayLike<number>): number {
  return Math.max(...Array.from(one, (x, index) => Math.abs(x - other[index])));
}

function stateOf({ physics }: Robot): number[] {
  return [...physics.data.qpos, ...physics.data.qvel] as number[];
}

/** Each step of Python's in the page's physics: from its state, with its action. */
function stepped(robot: Robot, trace: Trace): { states: number[]; rewards: number[] } {
  const found = { states: [] as number[], rewards: [] as number[] };
  robot.place(trace.positions, trace.velocities);
  const { data, model } = robot.physics;
  trace.actions.forEach((action, step) => {
    if (step > 0) {
      data.qpos.set(trace.states[step - 1].slice(0, model.nq));
      data.qvel.set(trace.states[step - 1].slice(model.nq));
      data.qacc_warmstart.set(trace.warmstarts[step - 1]);
      data.xpos.set(trace.places[step - 1]);
    }
    robot.begin(action);
    for (let part = 0; part < robot.parts; part += 1) {
      robot.advance();
    }
    found.rewards.push(Math.abs(robot.end().reward - trace.rewards[step]));
    found.states.push(apart(stateOf(robot), trace.states[step]));
  });
  return found;
}

/** What the page's policy does where it sees what Python's saw. */
async function acted({ plastic: { brain } }: Stage, trace: Trace): Promise<number[]> {
  brain.reset();
  const found: number[] = [];
  for (const [step, observation] of trace.observations.entries()) {
    const action = await brain.act(Float64Array.from(observation));
    found.push(apart(action, trace.actions[step]));
  }
  return found;
}

/** Page and Python, each on its own, from the same start. */
async function free(
  stage: Stage,
  trace: Trace,
): Promise<{ states: number[]; rewards: number[] }> {
  const { plastic } = stage;
  const robot = plastic.task as Robot;
  plastic.place(trace.positions, trace.velocities);
  const found = { states: [] as number[], rewards: [] as number[] };
  for (const state of trace.states) {
    await plastic.decide();
    for (let part = 0; part < robot.parts; part += 1) {
      robot.advance();
    }
    found.rewards.push(plastic.finish().reward);
    found.states.push(apart(stateOf(robot), state));
  }
  return found;
}

test.skipIf(FOLDER === undefined)("the page does what Python does", async () => {
  const all: Record<string, unknown> = {};
  for (const place of places) {
    const stage = await load(FOLDER!, place);
    const file = readFileSync(join(FOLDER!, place, "trace.json"), "utf8");
    const trace = JSON.parse(file) as Trace;
    const actions = await acted(stage, trace);
    const physics = stepped(stage.plastic.task as Robot, trace);
    const both = await free(stage, trace);
    all[place] = { actions, physics, free: both };
    expect(actions).toHaveLength(trace.actions.length);
  }
  writeFileSync(join(FOLDER!, "found.json"), JSON.stringify(all));
});
