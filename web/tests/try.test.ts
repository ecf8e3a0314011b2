import { expect, test } from "vitest";
import { load, placeOf } from "./load";

const FOLDER = "/tmp/h/page-data";
function mean(x: number[]): number { return x.reduce((a, b) => a + b, 0) / x.length; }
for (const part of ["motor-signs-alone", "motor-order", "motor-signs_Ant", "robots_Half", "robots_Ant", "Swimmer", "cue-lesson", "cue-ppo"]) {
test(part, async () => {
  const stage = await load(FOLDER, placeOf(FOLDER, part));
  const rewards: number[][] = [[], []];
  const correct: (boolean)[][] = [[], []];
  const t0 = performance.now();
  for (let i = 0; i < 600; i++) {
    if (i === 200) { if (part.includes("order")) stage.world.shuffle(new (await import("../src/random")).Random(1)); else stage.world.flipAll(); }
    (await stage.step()).forEach((m, k) => { rewards[k].push(m.reward); if (m.correct !== null) correct[k].push(m.correct); });
  }
  const t = performance.now() - t0;
  for (const k of [0, 1]) console.log(part, k, [0, 100, 200, 300, 400, 500].map((a) => mean(rewards[k].slice(a, a + 100)).toFixed(2)).join(" "), "acc", correct[k].length, mean(correct[k].map(Number)), stage.runners[k].falls);
  console.log((t / 600).toFixed(2), "ms per step of both", stage.world.text());
  expect(1).toBe(1);
}, 60000);
}
