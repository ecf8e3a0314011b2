/** What a visitor can change, as buttons and sliders: those of the policy's task. */

import type { Catalogue } from "./card";
import { letter } from "./board";
import { RECORDS, familiesOf } from "./perturbations";
import { Random } from "./random";
import type { Stage } from "./runner";
import { cueTasks } from "./scenes";
import { Board, Lesson, Robot } from "./tasks";

type Attributes = Record<string, string>;

/** An element; texts are texts, and never markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function byId<Kind extends HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

function button(
  label: string,
  attributes: Attributes,
  pressed: () => void,
): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", pressed);
  return made;
}

function box(title: string, ...children: Node[]): HTMLFieldSetElement {
  return element("fieldset", {}, element("legend", {}, title), ...children);
}

const TITLES = {
  motors: "Motors",
  body: "Body",
  world: "World",
  noise: "Noise",
  cues: "Cues",
};

export class Controls {
  private shown: (() => void)[] = [];
  private stage: Stage | null = null;

  constructor(
    private readonly place: HTMLElement,
    private readonly catalogue: Catalogue,
    /** Something was changed. */
    private readonly changed: () => void,
  ) {}

  /** The controls of a stage. */
  show(stage: Stage): void {
    this.stage = stage;
    this.shown = [];
    const columns: Node[][] = [[], [], []];
    const cues = this.cues(stage);
    if (cues !== null) {
      columns[0].push(cues);
    }
    if (stage.plastic.task instanceof Robot) {
      columns[0].push(this.motors(stage));
      columns[1].push(this.world(stage));
      columns[2].push(this.body(stage));
    }
    const noise = familiesOf(stage.card).filter(
      (name) => RECORDS[name].group === "noise",
    );
    columns[2].push(
      box(TITLES.noise, ...noise.map((name) => this.slider(stage, name))),
    );
    const filled = columns.filter((boxes) => boxes.length > 0);
    const made = filled.map((boxes) => element("div", { class: "column" }, ...boxes));
    this.place.replaceChildren(...made);
    this.update();
  }

  /** Shows what holds now, whoever changed it. */
  update(): void {
    for (const show of this.shown) {
      show();
    }
  }

  private change(change: (stage: Stage) => void): void {
    if (this.stage !== null) {
      change(this.stage);
      this.update();
      this.changed();
    }
  }

  private motors(stage: Stage): Node {
    const { motors } = (stage.plastic.task as Robot).card;
    const chips = motors.map(({ name }, motor) => {
      const label = `Flip the motor ${name}`;
      const chip = button(name, { "aria-label": label, "data-motor": name }, () => {
        this.change(({ world }) => {
          world.flip(motor);
        });
      });
      this.shown.push(() => {
        chip.setAttribute("aria-pressed", String(stage.world.signs[motor] < 0));
      });
      return chip;
    });
    const all = button("Flip all", { id: "flip-all" }, () => {
      this.change(({ world }) => {
        world.flipAll();
      });
    });
    const shuffle = button("Shuffle", { id: "shuffle" }, () => {
      this.change(({ world, steps }) => {
        world.shuffle(new Random(steps + Math.floor(Math.random() * 1e6)));
      });
    });
    this.shown.push(() => {
      const shuffled = stage.world.order.some((meant, place) => meant !== place);
      shuffle.setAttribute("aria-pressed", String(shuffled));
    });
    const restore = button("As it was", { id: "restore" }, () => {
      this.change(({ world }) => {
        world.restore();
      });
    });
    return box(
      "Motors: press to flip",
      element("div", { class: "chips" }, ...chips),
      element("div", { class: "row" }, all, shuffle, restore),
    );
  }

  /** Strength and lock of one motor, which a list names. */
  private body(stage: Stage): Node {
    const { card, physics } = stage.plastic.task as Robot;
    const names = card.motors.map(({ name }, index) => {
      return element("option", { value: String(index) }, name);
    });
    const all = element("option", { value: "all" }, "all motors");
    const which = element(
      "select",
      { class: "which", id: "joint", "aria-label": "Which joint" },
      ...names,
      all,
    );
    const chosen = (): number | null =>
      which.value === "all" ? null : Number(which.value);
    which.addEventListener("change", () => {
      this.update();
    });
    const angle = (): number => {
      const motor = chosen();
      const joint = motor === null ? null : card.motors[motor].joint;
      return joint === null ? 0 : physics.data.qpos[physics.model.jnt_qposadr[joint]];
    };
    const sliders = familiesOf(stage.card)
      .filter((name) => RECORDS[name].group === "body")
      .map((name) => {
        const each = RECORDS[name].each;
        return this.slider(stage, name, each ? chosen : () => null, angle);
      });
    return box(TITLES.body, which, ...sliders);
  }

  private world(stage: Stage): Node {
    const sliders = familiesOf(stage.card)
      .filter((name) => RECORDS[name].group === "world")
      .map((name) => this.slider(stage, name));
    const push = (label: string, id: string, way: number): HTMLButtonElement =>
      button(label, { id }, () => {
        this.change((now) => {
          now.push(way);
        });
      });
    const pushes = element(
      "div",
      { class: "row" },
      push("← Push back", "push-back", -1),
      push("Push on →", "push-on", 1),
    );
    return box(TITLES.world, pushes, ...sliders);
  }

  private slider(
    stage: Stage,
    family: string,
    motor: () => number | null = () => null,
    angle: () => number = () => 0,
  ): HTMLElement {
    const { nominal, hardest, other, unit, summary } = this.catalogue[family];
    const ends = [other ?? nominal, hardest].sort((one, two) => one - two);
    const { label, step } = RECORDS[family];
    const input = element("input", {
      type: "range",
      id: family,
      min: String(ends[0]),
      max: String(ends[1]),
      step: String(step),
    });
    const output = element("output", { for: family });
    const whole = element(
      "div",
      { class: "slider", title: `${family}: ${summary}` },
      element("label", { for: family }, label),
      output,
      input,
    );
    input.addEventListener("input", () => {
      this.change(({ world }) => {
        world.set(family, Number(input.value), motor(), angle());
      });
    });
    this.shown.push(() => {
      const value = stage.world.value(family, motor());
      input.value = String(value);
      output.textContent = said(value, unit);
      whole.classList.toggle("changed", value !== nominal);
      input.disabled = family === "joint_lock" && motor() === null;
    });
    return whole;
  }

  private cues(stage: Stage): Node | null {
    const tasks = cueTasks(stage);
    if (tasks.length === 0) {
      return null;
    }
    const all = (change: (task: Lesson | Board) => void) => (): void => {
      this.change(() => {
        tasks.forEach(change);
      });
    };
    const rows: Node[] = [];
    const [first] = tasks;
    const cues = first instanceof Lesson ? first.lesson.cues : first.card.cues;
    const asks = Array.from({ length: cues }, (_, cue) => {
      const ask = (task: Lesson | Board): void => {
        task.ask(cue);
      };
      return button(`Show ${letter(cue)}`, { "data-ask": letter(cue) }, all(ask));
    });
    rows.push(element("div", { class: "chips" }, ...asks));
    if (first instanceof Lesson) {
      const tells = Array.from({ length: cues }, (_, cue) => {
        const tell = (task: Lesson | Board): void => {
          if (task instanceof Lesson) {
            task.tell(cue);
          }
        };
        return button(`Tell ${letter(cue)}`, { "data-tell": letter(cue) }, all(tell));
      });
      rows.push(element("div", { class: "chips" }, ...tells));
    }
    const swap = button(
      "Swap the meanings",
      { id: "swap" },
      all((task) => {
        task.swap();
      }),
    );
    rows.push(element("div", { class: "row" }, swap));
    return box(TITLES.cues, ...rows);
  }
}

function said(value: number, unit: string): string {
  const number = String(Number(value.toFixed(2)));
  const short = unit.startsWith("x nominal") ? "×" : unit === "degrees" ? "°" : "";
  if (short === "×") {
    return `× ${number}`;
  }
  if (short === "°") {
    return `${number}°`;
  }
  return unit === "m/s" || unit === "Pa s" ? `${number} ${unit}` : number;
}
