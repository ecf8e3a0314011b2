/** A stage outside of a browser, of data that `spikepropamine.export.page` wrote. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Network, startRuntime } from "../src/brain";
import type { Card, Index } from "../src/card";
import { startMujoco } from "../src/physics";
import { Stage } from "../src/runner";

export async function load(folder: string, place: string): Promise<Stage> {
  const { catalogue } = JSON.parse(
    readFileSync(join(folder, "index.json"), "utf8"),
  ) as Index;
  const at = (name: string): string => join(folder, place, name);
  const card = JSON.parse(readFileSync(at("card.json"), "utf8")) as Card;
  await startRuntime();
  const network = await Network.load(card, readFileSync(at("policy.onnx")));
  const robot = card.task.kind !== "board";
  const xml = robot ? readFileSync(at("model.xml"), "utf8") : "";
  return new Stage(card, catalogue, network, robot ? await startMujoco() : null, xml);
}

export function placeOf(folder: string, part: string): string {
  return readdirSync(folder).find((name) => name.includes(part))!;
}
