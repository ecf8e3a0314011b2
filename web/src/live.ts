/** A task that Python steps: the page draws it and sends back what the visitor does. */

import { byId, element } from "./controls";
import { Accuracy, showScores, showText } from "./facts";
import { Plots } from "./plots";

const NO_PICTURES = "There are no pictures of this task. The plots show how it goes.";

const ENDED = "The command in the terminal has ended.";
const FAILED = 1011; // how a web socket says that the other side has failed

interface Start {
  kind: "start";
  name: string;
  policy: string;
  environment: string;
  seed: number;
  seconds: number;
  twin: boolean;
  trials: boolean;
  text: string;
  scores: Record<string, string>[];
}

interface Step {
  kind: "step";
  rewards: number[];
  correct: (boolean | null)[];
  spikes: number[];
  modulator: number[];
  weights: boolean;
}

/** Why a text does not apply, or why the task cannot go on. */
interface Complaint {
  kind: "refused" | "stopped";
  message: string;
}

type Said = (Start | Step | Complaint | { kind: "pictures" }) & { parts: number };

/** A picture that changes as fast as the browser can decode it, and no faster. */
class Picture {
  readonly image: HTMLImageElement;
  private next: ArrayBuffer | null = null;
  private isDecoding = false;

  constructor(description: string) {
    this.image = element("img", { alt: description });
    for (const event of ["load", "error"]) {
      this.image.addEventListener(event, () => {
        URL.revokeObjectURL(this.image.src);
        this.isDecoding = false;
        this.begin();
      });
    }
  }

  /** Shows a JPEG file, unless a later one comes first. */
  show(file: ArrayBuffer): void {
    this.next = file;
    this.begin();
  }

  private begin(): void {
    if (this.next === null || this.isDecoding) {
      return;
    }
    this.isDecoding = true;
    this.image.src = URL.createObjectURL(new Blob([this.next], { type: "image/jpeg" }));
    this.next = null;
  }
}

export class Live {
  private readonly plots = new Plots({
    reward: byId("reward"),
    spikes: byId("spikes"),
    modulator: byId("modulator"),
    weights: byId("weights"),
  });
  private readonly right = [new Accuracy(), new Accuracy()];
  private readonly pictures = [new Picture("The robot"), new Picture("Its twin")];
  private readonly socket: WebSocket;
  private said: Said | null = null;
  private parts: ArrayBuffer[] = [];
  private begun: Start | null = null;
  private steps = 0;
  private running = true;
  private mode = "on";
  private known = false;

  constructor(port: number) {
    this.socket = new WebSocket(`ws://127.0.0.1:${String(port)}/`);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener(
      "message",
      ({ data }: MessageEvent<string | ArrayBuffer>) => {
        this.hear(data);
      },
    );
    this.socket.addEventListener("close", ({ code }) => {
      const place = byId("loading");
      place.hidden = false;
      place.textContent = code === FAILED ? "Python stopped: see the terminal." : ENDED;
    });
  }

  start(): void {
    for (const id of ["view", "board", "scenes", "asked"]) {
      byId(id).hidden = true;
    }
    byId("pictures").hidden = false;
    byId("pictures").append(...this.pictures.map(({ image }) => image));
    document.querySelector<HTMLElement>(".pick")!.hidden = true;
    document.querySelector<HTMLElement>(".keys")!.hidden = true;
    this.controls();
    this.listen();
    const draw = (): void => {
      window.requestAnimationFrame(draw);
      this.plots.draw();
    };
    draw();
  }

  private send(message: Record<string, unknown>): void {
    this.socket.send(JSON.stringify(message));
  }

  /** A message is a text, and the parts that it names. */
  private hear(data: string | ArrayBuffer): void {
    if (typeof data === "string") {
      this.said = JSON.parse(data) as Said;
      this.parts = [];
    } else {
      this.parts.push(data);
    }
    if (this.said !== null && this.parts.length === this.said.parts) {
      this.take(this.said);
      this.said = null;
    }
  }

  private take(said: Said): void {
    if (said.kind === "start") {
      this.begin(said);
    } else if (said.kind === "step") {
      this.step(said);
    } else if (said.kind === "pictures") {
      const hasPictures = said.parts > 0;
      byId("pictures").hidden = !hasPictures;
      byId("no-view").hidden = hasPictures;
      byId("no-view").textContent = NO_PICTURES;
      this.show(this.parts);
    } else {
      byId("refused").textContent = said.message;
      this.setRunning(this.running && said.kind === "refused");
    }
  }

  private begin(start: Start): void {
    this.begun = start;
    this.steps = 0;
    byId("clock").textContent = "0.0";
    this.known = false;
    byId("loading").hidden = true;
    byId("twin-half").hidden = !start.twin;
    byId("brain").hidden = !start.twin;
    this.pictures[1].image.hidden = !start.twin;
    byId<HTMLInputElement>("seed").value = String(start.seed);
    for (const unit of document.querySelectorAll(".unit")) {
      unit.textContent = start.trials ? "right" : "reward a step";
    }
    for (const accuracy of this.right) {
      accuracy.clear();
    }
    byId("refused").textContent = "";
    showText(start.name, start.text);
    showScores(start.scores, `${start.name} on ${start.environment}`);
    this.plots.start(null);
    this.label();
  }

  private step(step: Step): void {
    const { begun, parts } = this;
    if (begun === null) {
      return;
    }
    const weights = new Float32Array(step.weights ? parts[0] : new ArrayBuffer(0));
    if (!this.known) {
      this.known = true;
      this.fit(step, weights.length);
    }
    this.show(step.weights ? parts.slice(1) : parts);
    const layer = {
      spikes: Float32Array.from(step.spikes),
      modulator: Float32Array.from(step.modulator),
      fastWeights: weights,
    };
    this.plots.add(step.rewards[0], step.rewards[1] ?? null, layer);
    this.steps += 1;
    const paces = [this.plots.pace.now, this.plots.twinPace.now];
    ["", "twin-"].forEach((side, index) => {
      const right = this.right[index];
      right.add(step.correct[index] ?? null);
      byId(`${side}pace`).textContent = begun.trials
        ? right.text
        : paces[index].toFixed(2);
      byId(`${side}extra`).textContent = right.counted;
    });
    byId("clock").textContent = (this.steps * begun.seconds).toFixed(1);
  }

  /** Plots of what this policy has, as its first step shows it. */
  private fit({ spikes, modulator }: Step, synapses: number): void {
    const neurons = Math.max(spikes.length, modulator.length, 1);
    const plastic = synapses > 0;
    byId("weights-figure").hidden = !plastic;
    byId("spikes-figure").hidden = spikes.length === 0;
    byId("modulator-figure").hidden = modulator.length === 0;
    const inputs = synapses / neurons;
    byId("weights-size").textContent =
      `${String(neurons)} × ${String(inputs)} synapses`;
    const has = { name: "", spikes: true, modulated: true, ticks: 1 };
    this.plots.start({ ...has, plastic, neurons, inputs });
  }

  private show(files: ArrayBuffer[]): void {
    files.forEach((file, index) => {
      this.pictures[index].show(file);
    });
  }

  /** A text of perturbations, since Python has all of the catalogue. */
  private controls(): void {
    const input = element("input", {
      id: "perturb",
      type: "text",
      placeholder: "obs_noise=0.3 + mass=1.5",
      spellcheck: "false",
    });
    const send = element("button", { type: "submit" }, "Change the world");
    const form = element(
      "form",
      { class: "perturb" },
      element("label", { for: "perturb" }, "Perturbations, as --perturb takes them"),
      element("div", { class: "row" }, input, send),
      element("p", { id: "refused", role: "alert" }),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send({ do: "perturb", text: input.value });
    });
    byId("controls").append(
      element("fieldset", {}, element("legend", {}, "World"), form),
    );
  }

  private listen(): void {
    const press = (id: string, pressed: () => void): void => {
      byId(id).addEventListener("click", pressed);
    };
    press("pause", () => {
      this.setRunning(!this.running);
      this.send({ do: "run", running: this.running });
    });
    press("step", () => {
      this.setRunning(false);
      this.send({ do: "step" });
    });
    press("restart", () => {
      const seed = Math.floor(Number(byId<HTMLInputElement>("seed").value));
      this.send({ do: "restart", seed: Math.max(0, seed || 0) });
    });
    press("plug", () => {
      this.switch("off");
    });
    press("freeze", () => {
      this.switch("frozen");
    });
    press("forget", () => {
      this.send({ do: "forget" });
      this.plots.mark();
    });
    byId<HTMLSelectElement>("speed").addEventListener("change", () => {
      this.send({ do: "speed", speed: Number(byId<HTMLSelectElement>("speed").value) });
    });
  }

  private setRunning(running: boolean): void {
    this.running = running;
    byId("pause").textContent = running ? "Pause" : "Go on";
  }

  private switch(mode: "off" | "frozen"): void {
    this.mode = this.mode === mode ? "on" : mode;
    this.send({ do: "plasticity", mode: this.mode });
    this.plots.mark();
    this.label();
  }

  private label(): void {
    byId("plug").setAttribute("aria-pressed", String(this.mode === "off"));
    byId("plug-text").textContent =
      this.mode === "off" ? "Plug it in" : "Pull the plug";
    byId("freeze").setAttribute("aria-pressed", String(this.mode === "frozen"));
    const words: Record<string, string> = {
      on: "Its synapses learn",
      frozen: "Its synapses are frozen",
      off: "Unplugged",
    };
    byId("mode").textContent =
      this.begun?.twin === true ? words[this.mode] : (this.begun?.policy ?? "");
  }
}
