/** Texts beside the pictures: accuracy, the table's scores, the same in Python. */

import { byId, element } from "./controls";

const TRIALS = 10; // that the accuracy is of

/** The share of right answers in the last trials that asked. */
export class Accuracy {
  private readonly right: boolean[] = [];

  /** The answer of a trial; null where nothing was asked. */
  add(correct: boolean | null): void {
    if (correct !== null) {
      this.right.push(correct);
      this.right.splice(0, this.right.length - TRIALS);
    }
  }

  clear(): void {
    this.right.length = 0;
  }

  get text(): string {
    const share = this.right.filter(Boolean).length / this.right.length;
    return this.right.length === 0 ? "–" : `${String(Math.round(100 * share))} %`;
  }

  /** Of how many trials it is. */
  get counted(): string {
    const { length } = this.right;
    return length === 0 ? "" : `of the last ${String(length)} trials`;
  }
}

/** What the results table says of the policy, as its card has it. */
export function showScores(scores: Record<string, string>[], what: string): void {
  const place = byId("scores");
  if (scores.length === 0) {
    place.replaceChildren();
    return;
  }
  const columns = Object.keys(scores[0]);
  const head = columns.map((column) => element("th", { scope: "col" }, column));
  const rows = scores.map((row) => {
    return element(
      "tr",
      {},
      ...columns.map((column) => element("td", {}, row[column] ?? "")),
    );
  });
  place.replaceChildren(
    element(
      "table",
      {},
      element("caption", {}, `As evaluated in Python: ${what}`),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...rows),
    ),
  );
}

/** How Python does the same to a policy; nothing where nothing is changed. */
export function showText(name: string, text: string): void {
  const place = byId("text");
  place.hidden = text === "";
  const command = `spikepropamine enjoy ${name} --perturb "${text}"`;
  place.replaceChildren("The same in Python: ", element("code", {}, command));
}
