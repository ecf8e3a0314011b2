/** The page: loads, lets time pass, and joins what a visitor does to what is drawn. */

import { drawBoards, letter } from "./board";
import { Network, startRuntime } from "./brain";
import type { Card, Index } from "./card";
import { onTurn } from "./colours";
import { Controls, byId, element } from "./controls";
import { Accuracy, showScores, showText } from "./facts";
import { bytes, json, text } from "./files";
import { Live } from "./live";
import { orderOf } from "./perturbations";
import { startMujoco, type Mujoco } from "./physics";
import { Plots } from "./plots";
import { Stage, type Moment } from "./runner";
import { LENGTH, Play, SCENES, type Scene } from "./scenes";
import { Board, Lesson, Robot } from "./tasks";
import { View, cameraOf } from "./view";

const DATA = "data";
const NO_VIEW =
  "This browser has no WebGL, so the robots are not drawn. They run all the same.";
const LATEST = 0.25; // s that a picture may be late before time is let go

class Page {
  private readonly plots = new Plots({
    reward: byId("reward"),
    spikes: byId("spikes"),
    modulator: byId("modulator"),
    weights: byId("weights"),
  });
  private readonly controls: Controls;
  private view: View | null = null;
  private mujoco: Promise<Mujoco> | null = null;
  private runtime: Promise<void> | null = null;
  private stage: Stage | null = null;
  private play: Play | null = null;
  private readonly cards = new Map<string, Card>();
  private running = true;
  private busy = false;
  private due = 0;
  private before = 0;
  private readonly right = [new Accuracy(), new Accuracy()];
  private loads = 0;

  constructor(private readonly index: Index) {
    this.controls = new Controls(byId("controls"), index.catalogue, () => {
      this.changed();
    });
  }

  async start(): Promise<void> {
    const cards = await Promise.all(
      this.index.policies.map((place) => json<Card>(`${DATA}/${place}/card.json`)),
    );
    this.index.policies.forEach((place, number) =>
      this.cards.set(place, cards[number]),
    );
    const picker = byId<HTMLSelectElement>("policy");
    picker.append(
      ...[...this.cards].map(([place, card]) =>
        element("option", { value: place }, card.title),
      ),
    );
    this.listen(picker);
    this.listScenes();
    const wanted = new URLSearchParams(location.search).get("policy");
    const first =
      this.index.policies.find((place) => place === wanted) ?? this.index.policies[0];
    await this.load(first);
    window.requestAnimationFrame(this.frame);
  }

  /** Another policy comes on stage. */
  private async load(place: string, seed?: number): Promise<void> {
    this.loads += 1;
    const load = this.loads;
    byId<HTMLSelectElement>("policy").value = place;
    this.say("Loading…");
    const stage = await this.stageOf(place);
    if (load === this.loads) {
      this.enter(stage, seed ?? Number(byId<HTMLInputElement>("seed").value));
      this.say("");
    } else {
      stage.delete(); // another one was chosen meanwhile
    }
  }

  private async stageOf(place: string): Promise<Stage> {
    const card = this.cards.get(place)!;
    const isRobot = card.task.kind !== "board";
    this.runtime ??= bytes("onnxruntime.bin").then(startRuntime);
    if (isRobot) {
      this.mujoco ??= bytes("mujoco.bin").then(startMujoco);
    }
    const [mujoco, xml, policy] = await Promise.all([
      isRobot ? this.mujoco : null,
      isRobot ? text(`${DATA}/${place}/model.xml`) : "",
      bytes(`${DATA}/${place}/policy.onnx`),
      this.runtime,
    ]);
    const network = await Network.load(card, policy);
    return new Stage(card, this.index.catalogue, network, mujoco, xml);
  }

  private enter(stage: Stage, seed: number): void {
    const before = this.stage;
    this.stage = stage;
    const robots = robotsOf(stage);
    if (robots.length > 0) {
      this.view ??= this.makeView();
    }
    this.view?.show(robots, cameraOf(stage.card.environment));
    before?.delete();
    if (before === null) {
      this.perturb(stage);
    }
    this.showParts(stage.card);
    this.controls.show(stage);
    this.plots.start(stage.card.layer);
    this.restart(seed);
  }

  /** Does to the first policy what `spikepropamine play --perturb` says. */
  private perturb(stage: Stage): void {
    const motors = stage.card.task.kind === "board" ? [] : stage.card.task.motors;
    for (const { family, target, value } of this.index.perturb ?? []) {
      const motor = motors.findIndex(({ name }) => name === target);
      if (family === "motor_signs") {
        stage.world.signs = stage.world.signs.map((_, bit) =>
          (value >> bit) & 1 ? -1 : 1,
        );
      } else if (family === "motor_order") {
        stage.world.order = orderOf(value, motors.length);
      } else {
        stage.world.set(family, value, motor < 0 ? null : motor);
      }
    }
  }

  /** The robots in 3D; null where the browser cannot draw them. */
  private makeView(): View | null {
    let view: View;
    try {
      view = new View(byId("view"));
    } catch {
      return null;
    }
    view.onGrip = (grip) => {
      this.stage?.pull(grip?.body ?? 0, grip === null ? null : grip.pull.toArray());
    };
    return view;
  }

  private showParts(card: Card): void {
    const board = card.task.kind === "board";
    byId("view").hidden = board || this.view === null;
    byId("no-view").hidden = board || this.view !== null;
    byId("no-view").textContent = NO_VIEW;
    byId("board").hidden = !board;
    const plastic = card.layer?.plastic === true;
    byId("brain").hidden = !plastic;
    byId("twin-half").hidden = !plastic;
    byId("weights-figure").hidden = !plastic;
    byId("spikes-figure").hidden = card.layer?.spikes !== true;
    byId("modulator-figure").hidden = card.layer?.modulated !== true;
    byId("weights-size").textContent = plastic
      ? `${String(card.layer!.neurons)} × ${String(card.layer!.inputs)} synapses`
      : "";
    for (const unit of document.querySelectorAll(".unit")) {
      unit.textContent = card.task.kind === "robot" ? "reward a step" : "right";
    }
    showScores(card.scores, `${card.name} on ${card.environment}`);
    this.view?.resize();
  }

  private restart(seed: number): void {
    this.stage!.restart(seed);
    byId<HTMLInputElement>("seed").value = String(seed);
    this.plots.clear();
    for (const accuracy of this.right) {
      accuracy.clear();
    }
    this.due = 0;
    this.changed(false);
    this.tell();
  }

  /** Something was changed, by the visitor or by a scene. */
  private changed(mark = true): void {
    const stage = this.stage!;
    this.view?.colour(stage.world);
    if (mark) {
      this.plots.mark();
    }
    this.controls.update();
    const mode = stage.plasticity;
    byId("plug").setAttribute("aria-pressed", String(mode === "off"));
    byId("plug-text").textContent = mode === "off" ? "Plug it in" : "Pull the plug";
    byId("freeze").setAttribute("aria-pressed", String(mode === "frozen"));
    const said = {
      on: "Its synapses learn",
      frozen: "Its synapses are frozen",
      off: "Unplugged",
    };
    byId("mode").textContent =
      stage.card.layer?.plastic === true ? said[mode] : stage.card.policy;
    showText(stage.card.name, stage.world.text());
  }

  private readonly frame = (now: number): void => {
    window.requestAnimationFrame(this.frame);
    const seconds = Math.min((now - this.before) / 1000, LATEST);
    this.before = now;
    if (this.stage === null || byId("loading").hidden === false) {
      return;
    }
    if (this.running) {
      const speed = Number(byId<HTMLSelectElement>("speed").value);
      this.due = Math.min(
        this.due + seconds * speed,
        Math.max(LATEST, this.stage.seconds),
      );
      void this.pass();
    }
    this.draw(seconds);
  };

  /** Lets the time that is due pass. */
  private async pass(): Promise<void> {
    const stage = this.stage!;
    if (this.busy) {
      return;
    }
    this.busy = true;
    try {
      while (this.due >= stage.seconds && stage === this.stage) {
        this.due -= stage.seconds;
        this.count(await stage.advance());
      }
    } finally {
      this.busy = false;
    }
  }

  private count(moments: Moment[] | null): void {
    if (moments === null) {
      return;
    }
    const [first, twin] = moments;
    this.plots.add(first.reward, twin?.reward ?? null, this.stage!.plastic.layer);
    moments.forEach(({ correct }, index) => {
      this.right[index].add(correct);
    });
    this.direct(this.stage!.plastic.task.seconds);
  }

  private draw(seconds: number): void {
    const stage = this.stage!;
    const { task } = stage.plastic;
    if (task instanceof Board) {
      drawBoards(
        byId("board"),
        stage.runners.map((runner) => runner.task as Board),
      );
    } else {
      this.view?.hold();
      this.view?.draw(stage.world, seconds);
    }
    if (this.plots.draw()) {
      this.tell();
    }
  }

  /** The numbers over the pictures. */
  private tell(): void {
    const stage = this.stage!;
    const { task } = stage.plastic;
    const paces = [this.plots.pace.now, this.plots.twinPace.now];
    const cues = task instanceof Lesson || task instanceof Board;
    ["", "twin-"].forEach((side, index) => {
      const right = this.right[index];
      byId(`${side}pace`).textContent = cues ? right.text : paces[index].toFixed(1);
      const falls = stage.runners[index]?.falls ?? 0;
      byId(`${side}extra`).textContent =
        falls > 0 ? `fell ${String(falls)} ×` : right.counted;
    });
    byId("clock").textContent = (stage.steps * task.seconds).toFixed(1);
    const asked = byId("asked");
    asked.hidden = !(task instanceof Lesson);
    if (task instanceof Lesson) {
      const { cue, told } = task.trial;
      const way = task.direction > 0 ? "forward" : "backward";
      const said = told ? `told once: run ${way}` : `asked: ${way}, but it is not told`;
      if (asked.dataset.said !== `${String(cue)}${said}`) {
        asked.dataset.said = `${String(cue)}${said}`;
        const badge = element("b", { class: cue === 1 ? "b" : "a" }, letter(cue));
        asked.replaceChildren(badge, said);
      }
    }
  }

  private say(message: string): void {
    const place = byId("loading");
    place.hidden = message === "";
    place.textContent = message;
  }

  // scenes

  private listScenes(): void {
    const known = SCENES.filter((scene) => this.placeOf(scene) !== undefined);
    const nav = byId("scenes");
    nav.hidden = known.length === 0;
    nav.append(
      ...known.map((scene, number) => {
        const made = element(
          "button",
          { type: "button", "data-scene": scene.id, "aria-pressed": "false" },
          element("span", { class: "number" }, String(number + 1)),
          element("strong", {}, scene.title),
          element("small", {}, scene.summary),
        );
        made.addEventListener("click", () => void this.begin(scene));
        return made;
      }),
    );
  }

  private placeOf(scene: Scene): string | undefined {
    return [...this.cards].find(([, card]) => card.name.startsWith(scene.policy))?.[0];
  }

  private async begin(scene: Scene): Promise<void> {
    this.leave();
    await this.load(this.placeOf(scene)!, scene.seed);
    this.play = new Play(scene);
    this.setRunning(true);
    byId<HTMLSelectElement>("speed").value = "1";
    byId("scene").hidden = false;
    document
      .querySelector(`[data-scene="${scene.id}"]`)!
      .setAttribute("aria-pressed", "true");
    this.direct(0);
  }

  private direct(seconds: number): void {
    if (this.play === null) {
      return;
    }
    const said = this.play.advance(seconds, this.stage!);
    if (said !== null) {
      byId("caption").textContent = said;
      this.changed(this.play.changed);
    }
    byId<HTMLProgressElement>("progress").value = Math.min(this.play.progress, LENGTH);
    if (this.play.over) {
      this.play = null;
      byId("caption").textContent += " Your turn: try whatever you like.";
    }
  }

  private leave(): void {
    this.play = null;
    byId("scene").hidden = true;
    for (const made of document.querySelectorAll("[data-scene]")) {
      made.setAttribute("aria-pressed", "false");
    }
  }

  // what the visitor does

  private listen(picker: HTMLSelectElement): void {
    picker.addEventListener("change", () => {
      this.leave();
      void this.load(picker.value, 0);
    });
    const press = (id: string, pressed: () => void): void => {
      byId(id).addEventListener("click", pressed);
    };
    press("pause", () => {
      this.setRunning(!this.running);
    });
    press("step", () => {
      this.setRunning(false);
      void this.single();
    });
    press("restart", () => {
      this.leave();
      this.restart(
        Math.max(0, Math.floor(Number(byId<HTMLInputElement>("seed").value)) || 0),
      );
    });
    press("leave", () => {
      this.leave();
    });
    press("plug", () => {
      this.switch("off");
    });
    press("freeze", () => {
      this.switch("frozen");
    });
    press("forget", () => {
      this.stage!.plastic.brain.forget();
      this.changed();
    });
    document.addEventListener("keydown", this.key);
    new ResizeObserver(() => {
      this.view?.resize();
      this.plots.refresh();
    }).observe(byId("screen"));
    onTurn(() => {
      this.plots.refresh();
      this.changed(false);
    });
  }

  /** Off or frozen; a second time: on again. */
  private switch(mode: "off" | "frozen"): void {
    const stage = this.stage!;
    stage.plasticity = stage.plasticity === mode ? "on" : mode;
    this.changed();
  }

  private setRunning(running: boolean): void {
    this.running = running;
    byId("pause").textContent = running ? "Pause" : "Go on";
  }

  private async single(): Promise<void> {
    if (this.busy) {
      return;
    }
    this.busy = true;
    try {
      this.count(await this.stage!.step());
      this.tell();
    } finally {
      this.busy = false;
    }
  }

  private readonly key = (event: KeyboardEvent): void => {
    const { key } = event;
    const target = event.target as HTMLElement;
    const isTyping = target.matches("select, input:not([type=range])");
    const pressesButton = key === " " && target.matches("button");
    if (isTyping || pressesButton || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const id = { " ": "pause", u: "plug", f: "flip-all", r: "restart" }[key];
    const button = id === undefined ? null : document.getElementById(id);
    if (button !== null) {
      event.preventDefault();
      button.click();
    }
  };
}

function robotsOf(stage: Stage): Robot[] {
  return stage.runners.map(({ task }) => task).filter((task) => task instanceof Robot);
}

async function main(): Promise<void> {
  if (location.protocol === "file:") {
    throw new Error(
      "This page needs a server: spikepropamine play, or python -m http.server.",
    );
  }
  const index = await json<Index>(`${DATA}/index.json`);
  if (index.live === undefined) {
    await new Page(index).start();
  } else {
    new Live(index.live).start();
  }
}

/** Says what went wrong where the robots would be. */
function complain(error: unknown): void {
  const place = byId("loading");
  place.hidden = false;
  place.textContent = error instanceof Error ? error.message : String(error);
}

window.addEventListener("unhandledrejection", ({ reason }) => {
  complain(reason);
});
main().catch(complain);
