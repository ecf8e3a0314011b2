import { expect, test } from "vitest";
import { RECORDS, World, orderOf, rankOf } from "../src/perturbations";
import { Random } from "../src/random";
import { LENGTH, Play, SCENES } from "../src/scenes";
import { asObserved, type Stage } from "../src/runner";
import { Board } from "../src/tasks";
import type { Card, Catalogue } from "../src/card";

const MOTORS = ["hip", "knee", "foot"].map((name, joint) => ({ name, joint }));
const CATALOGUE: Catalogue = Object.fromEntries(
  Object.keys(RECORDS).map((name) => {
    const nominal = ["strength", "mass", "gravity", "friction"].includes(name) ? 1 : 0;
    const family = {
      group: "",
      summary: "",
      unit: "",
      nominal,
      hardest: 2,
      other: null,
      whole: false,
    };
    return [name, family];
  }),
);

function world(): World {
  return new World(CATALOGUE, MOTORS, [1, 1]);
}

test("random numbers are those of their seed, and spread evenly", () => {
  const draw = (seed: number): number[] => {
    const random = new Random(seed);
    return Array.from({ length: 2000 }, () => random.uniform());
  };
  expect(draw(3)).toEqual(draw(3));
  expect(draw(3)).not.toEqual(draw(4));
  const mean = draw(5).reduce((sum, x) => sum + x, 0) / 2000;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.03);
});

test("an untouched world changes nothing", () => {
  const random = new Random(0);
  expect(world().arrived([0.1, -0.2, 0.3], random)).toEqual([0.1, -0.2, 0.3]);
  expect([...world().seen(Float64Array.of(1, 2), random)]).toEqual([1, 2]);
  expect(world().text()).toBe("");
});

test("flips and orders act on the action, and are named as the catalogue does", () => {
  const random = new Random(0);
  const one = world();
  one.flip(1);
  expect(one.arrived([0.1, -0.2, 0.3], random)).toEqual([0.1, 0.2, 0.3]);
  expect(one.text()).toBe("motor_signs=2");
  one.order = [2, 0, 1];
  expect(one.arrived([0.1, -0.2, 0.3], random)).toEqual([0.3, 0.1, 0.2]);
  one.set("strength", 0.5, 2);
  expect(one.text()).toBe("motor_signs=2 + motor_order=4 + strength:foot=0.5");
  one.restore();
  expect(one.text()).toBe("");
});

test("a shuffle leaves no motor in its place", () => {
  const one = world();
  for (let seed = 0; seed < 20; seed += 1) {
    one.shuffle(new Random(seed));
    expect(one.order.some((meant, place) => meant === place)).toBe(false);
  }
});

test("an order has the code that Python gives it, and the code the order", () => {
  expect(rankOf([0, 1, 2])).toBe(0);
  expect(rankOf([2, 1, 0])).toBe(5);
  for (let code = 0; code < 24; code += 1) {
    expect(rankOf(orderOf(code, 4))).toBe(code);
  }
});

test("noise is clipped to what motors take", () => {
  const one = world();
  one.set("action_noise", 2);
  const random = new Random(1);
  for (let step = 0; step < 50; step += 1) {
    expect(
      Math.max(...one.arrived([0, 0, 0], random).map(Math.abs)),
    ).toBeLessThanOrEqual(1);
  }
});

test("the board pays for the action that a cue asks for, and swaps", () => {
  const card = {
    kind: "board",
    cues: 2,
    bits: 8,
    actions: 2,
    cue_length: 1,
    feedback_length: 1,
    delay_length: 2,
  };
  const board = new Board(card as ConstructorParameters<typeof Board>[0]);
  board.reset(4);
  expect([...board.observe()].slice(0, 9)).toEqual([...board.patterns[board.cue], 1]);
  const answer = (action: number): number => {
    board.begin([action]);
    return board.end().reward;
  };
  const right = board.meaning[board.cue];
  expect(answer(right)).toBe(1);
  expect([...board.observe()].slice(9)).toEqual([
    right === 0 ? 1 : 0,
    right === 1 ? 1 : 0,
    1,
  ]);
  for (let step = 0; step < 3; step += 1) {
    answer(0);
  }
  board.swap();
  expect(answer(board.meaning[board.cue])).toBe(1);
  expect(board.answers).toEqual([true, true]);
});

test("a choice is observed as one-hot numbers, and what motors do as it is", () => {
  const board = { kind: "board", actions: 3 } as Card["task"];
  expect(asObserved([2], board)).toEqual([0, 0, 1]);
  expect(asObserved([0], board)).toEqual([1, 0, 0]);
  const robot = { kind: "robot" } as Card["task"];
  expect(asObserved([0.5, -0.5], robot)).toEqual([0.5, -0.5]);
});

test("scenes last half a minute, and say something at the start", () => {
  for (const scene of SCENES) {
    const times = scene.turns.map(({ at }) => at);
    expect(times[0]).toBe(0);
    expect([...times].sort((one, other) => one - other)).toEqual(times);
    expect(Math.max(...times)).toBeLessThan(LENGTH - 4);
    const play = new Play({
      ...scene,
      turns: scene.turns.map(({ at, say }) => ({ at, say })),
    });
    const said = Array.from({ length: LENGTH }, () => play.advance(1, {} as Stage));
    expect(said.filter((words) => words !== null)).toHaveLength(times.length);
    expect(play.over).toBe(true);
  }
});
