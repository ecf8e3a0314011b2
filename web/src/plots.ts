/** What goes on inside, live: reward, spikes, neuromodulator, fast weights. */

import type { LayerCard } from "./card";
import { colour, paint, pixel, rgb } from "./colours";
import type { Layer } from "./runner";

const SHOWN = 300; // steps in the plots that run with time
const WINDOW = 50; // steps that the pace is a mean over
const NEURONS = 64; // drawn at most, of those that spike

/** A canvas that is as sharp as the screen. */
class Sheet {
  readonly pen: CanvasRenderingContext2D;
  width = 0;
  height = 0;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.pen = canvas.getContext("2d")!;
  }

  /** Fits the canvas to its place in the page; whether it has any. */
  fit(): boolean {
    const ratio = Math.min(window.devicePixelRatio, 2);
    const { clientWidth, clientHeight } = this.canvas;
    const width = Math.round(clientWidth * ratio);
    const height = Math.round(clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = clientWidth;
    this.height = clientHeight;
    return width > 0 && height > 0;
  }
}

/** Numbers of the last steps, the oldest first. */
export class Trail {
  readonly values: number[] = [];

  constructor(private readonly length: number) {}

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > this.length) {
      this.values.shift();
    }
  }

  clear(): void {
    this.values.length = 0;
  }

  /** The mean of the last so many. */
  mean(count: number): number {
    const last = this.values.slice(-count);
    return last.length === 0 ? 0 : last.reduce((sum, x) => sum + x, 0) / last.length;
  }
}

/** The pace of a robot: its mean reward over the last `WINDOW` steps. */
export class Pace {
  private readonly rewards = new Trail(WINDOW);
  readonly curve = new Trail(SHOWN);

  add(reward: number): void {
    this.rewards.add(reward);
    this.curve.add(this.now);
  }

  get now(): number {
    return this.rewards.mean(WINDOW);
  }

  clear(): void {
    this.rewards.clear();
    this.curve.clear();
  }
}

/** A strip of time, neuron by neuron, that moves left. */
class Strip {
  private readonly sheet: Sheet;
  private readonly picture = document.createElement("canvas");
  private readonly pen: CanvasRenderingContext2D;
  private filled = 0;

  constructor(
    canvas: HTMLCanvasElement,
    private rows: number,
  ) {
    this.sheet = new Sheet(canvas);
    this.pen = this.picture.getContext("2d", { willReadFrequently: true })!;
    this.start(rows);
  }

  start(neurons: number): void {
    this.rows = Math.max(1, Math.min(neurons, NEURONS));
    this.picture.width = SHOWN;
    this.picture.height = this.rows;
    this.clear();
  }

  clear(): void {
    this.filled = 0;
    this.pen.fillStyle = colour("--paper");
    this.pen.fillRect(0, 0, SHOWN, this.rows);
  }

  /** Adds a column with the values of the neurons, painted by `fill`. */
  add(
    values: Float32Array,
    fill: (pixels: Uint32Array, shown: Float32Array) => void,
  ): void {
    if (this.filled === SHOWN) {
      this.pen.drawImage(this.picture, -1, 0);
      this.filled -= 1;
    }
    const column = this.pen.createImageData(1, this.rows);
    const shown = new Float32Array(this.rows);
    for (let row = 0; row < this.rows; row += 1) {
      shown[row] = values[Math.floor((row * values.length) / this.rows)];
    }
    fill(new Uint32Array(column.data.buffer), shown);
    this.pen.putImageData(column, this.filled, 0);
    this.filled += 1;
  }

  /** Marks the present step, at which something was changed. */
  mark(): void {
    this.pen.fillStyle = colour("--mark");
    this.pen.fillRect(Math.max(this.filled - 1, 0), 0, 1, this.rows);
  }

  draw(): void {
    if (!this.sheet.fit()) {
      return;
    }
    const { pen, width, height } = this.sheet;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.picture, 0, 0, SHOWN, this.rows, 0, 0, width, height);
  }
}

export interface Places {
  reward: HTMLCanvasElement;
  spikes: HTMLCanvasElement;
  modulator: HTMLCanvasElement;
  weights: HTMLCanvasElement;
}

export class Plots {
  readonly pace = new Pace();
  readonly twinPace = new Pace();
  private readonly reward: Sheet;
  private readonly weights: Sheet;
  private readonly spikes: Strip;
  private readonly modulator: Strip;
  private readonly picture = document.createElement("canvas");
  private marks: number[] = [];
  private bound = 0.05;
  private hasTwin = false;
  private stale = true;

  constructor(places: Places) {
    this.reward = new Sheet(places.reward);
    this.weights = new Sheet(places.weights);
    this.spikes = new Strip(places.spikes, 1);
    this.modulator = new Strip(places.modulator, 1);
  }

  start(layer: LayerCard | null): void {
    this.hasTwin = layer?.plastic === true;
    this.spikes.start(layer?.neurons ?? 1);
    this.modulator.start(layer?.neurons ?? 1);
    this.picture.width = layer?.plastic === true ? layer.inputs : 1;
    this.picture.height = layer?.plastic === true ? layer.neurons : 1;
    this.clear();
  }

  clear(): void {
    this.pace.clear();
    this.twinPace.clear();
    this.marks = [];
    this.bound = 0.05;
    this.spikes.clear();
    this.modulator.clear();
    this.show(new Float32Array(this.picture.width * this.picture.height));
    this.stale = true;
  }

  /** Everything is to be drawn again, as on a page of another size. */
  refresh(): void {
    this.stale = true;
  }

  /** Something was changed: a line in every plot of time. */
  mark(): void {
    this.marks.push(0);
    this.spikes.mark();
    this.modulator.mark();
    this.stale = true;
  }

  add(reward: number, twin: number | null, layer: Layer): void {
    this.pace.add(reward);
    if (twin !== null) {
      this.twinPace.add(twin);
    }
    this.marks = this.marks.map((age) => age + 1).filter((age) => age < SHOWN);
    if (layer.spikes.length > 0) {
      const ink = pixel(rgb(colour("--ink")));
      const paper = pixel(rgb(colour("--paper")));
      this.spikes.add(layer.spikes, (pixels, shown) => {
        shown.forEach((spike, row) => {
          pixels[row] = spike > 0 ? ink : paper;
        });
      });
    }
    if (layer.modulator.length > 0) {
      this.modulator.add(layer.modulator, (pixels, shown) => {
        paint(pixels, shown, 1);
      });
    }
    this.show(layer.fastWeights);
    this.stale = true;
  }

  /** The fast weights: a pixel for each synapse. */
  private show(values: Float32Array): void {
    const { width, height } = this.picture;
    if (values.length !== width * height) {
      return;
    }
    const pen = this.picture.getContext("2d")!;
    const pixels = pen.createImageData(width, height);
    let largest = 0;
    for (const value of values) {
      largest = Math.max(largest, Math.abs(value));
    }
    this.bound = Math.max(this.bound, largest);
    paint(new Uint32Array(pixels.data.buffer), values, this.bound);
    pen.putImageData(pixels, 0, 0);
  }

  /** Draws what is new; whether anything was. */
  draw(): boolean {
    if (!this.stale) {
      return false;
    }
    this.stale = false;
    this.spikes.draw();
    this.modulator.draw();
    this.drawWeights();
    this.drawReward();
    return true;
  }

  private drawWeights(): void {
    if (!this.weights.fit()) {
      return;
    }
    const { pen, width, height } = this.weights;
    pen.imageSmoothingEnabled = this.picture.width > width;
    pen.drawImage(this.picture, 0, 0, width, height);
  }

  private drawReward(): void {
    if (!this.reward.fit()) {
      return;
    }
    const { pen, width, height } = this.reward;
    const left = 30;
    const curves = [this.twinPace.curve.values, this.pace.curve.values];
    const all = [0, ...curves.flat()];
    const [low, high] = nice(Math.min(...all), Math.max(...all, 0.5));
    const x = (index: number): number =>
      left + ((width - left - 2) * index) / (SHOWN - 1);
    const y = (value: number): number =>
      height - 8 - ((height - 16) * (value - low)) / (high - low);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks(low, high)) {
      pen.strokeStyle = colour(tick === 0 ? "--axis" : "--line");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(left, Math.round(y(tick)) + 0.5);
      pen.lineTo(width, Math.round(y(tick)) + 0.5);
      pen.stroke();
      pen.fillStyle = colour("--soft");
      pen.fillText(String(tick), left - 6, y(tick));
    }
    const steps = this.pace.curve.values.length;
    pen.strokeStyle = colour("--mark");
    for (const age of this.marks) {
      const at = Math.round(x(Math.max(steps - 1 - age, 0))) + 0.5;
      pen.beginPath();
      pen.moveTo(at, 0);
      pen.lineTo(at, height);
      pen.stroke();
    }
    const names = this.hasTwin ? ["--twin", "--learn"] : ["", "--learn"];
    curves.forEach((curve, index) => {
      if (curve.length === 0 || names[index] === "") {
        return;
      }
      pen.strokeStyle = colour(names[index]);
      pen.lineWidth = index === 0 ? 2 : 2.5;
      pen.setLineDash(index === 0 ? [5, 4] : []);
      pen.lineJoin = "round";
      pen.beginPath();
      curve.forEach((value, at) => {
        pen.lineTo(x(at), y(value));
      });
      pen.stroke();
    });
    pen.setLineDash([]);
  }
}

/** Ends of an axis a little beyond what there is. */
function nice(low: number, high: number): [number, number] {
  const room = (high - low) * 0.08;
  return [low < 0 ? low - room : 0, high + room];
}

/** Three or four round numbers between two ends. */
function ticks(low: number, high: number): number[] {
  const raw = (high - low) / 3.5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw)!;
  const found: number[] = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1) {
    found.push(Number((index * step).toFixed(6)));
  }
  return found;
}
