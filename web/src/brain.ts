/** A policy: an ONNX file, and the state that it carries from step to step. */

import * as ort from "onnxruntime-web/wasm";
import type { Card } from "./card";

/**
 * on: it learns; frozen: what was learned stays; off: nothing is learned, and what was
 * learned is gone.
 */
export type Plasticity = "on" | "frozen" | "off";

export async function startRuntime(wasm?: Uint8Array<ArrayBuffer>): Promise<void> {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  if (wasm !== undefined) {
    ort.env.wasm.wasmBinary = wasm.buffer;
  }
}

/** The network of a card, which several brains may share. */
export class Network {
  private constructor(
    readonly card: Card,
    private readonly session: ort.InferenceSession,
  ) {}

  static async load(card: Card, file: Uint8Array): Promise<Network> {
    return new Network(card, await ort.InferenceSession.create(file));
  }

  async run(
    observation: Float64Array,
    state: Float32Array,
  ): Promise<{ action: number[]; state: Float32Array }> {
    const shape = [1, observation.length];
    const seen =
      this.card.float === "float64"
        ? new ort.Tensor("float64", observation, shape)
        : new ort.Tensor("float32", Float32Array.from(observation), shape);
    const feeds: Record<string, ort.Tensor> = { observation: seen };
    if (state.length > 0) {
      feeds.state = new ort.Tensor("float32", state, [1, state.length]);
    }
    const found = await this.session.run(feeds);
    const action = Array.from(found.action.data as ArrayLike<number | bigint>, Number);
    const next = state.length > 0 ? (found.new_state.data as Float32Array) : state;
    return { action, state: next };
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}

export class Brain {
  private state: Float32Array;
  private readonly places = new Map<string, [number, number]>();
  private mode: Plasticity = "on";

  constructor(readonly network: Network) {
    let size = 0;
    for (const [name, shape] of Object.entries(network.card.state ?? {})) {
      const width = shape.reduce((product, side) => product * side, 1);
      this.places.set(name, [size, size + width]);
      size += width;
    }
    this.state = new Float32Array(size);
  }

  /** A view of a field of the state; empty where there is none. */
  field(name: string): Float32Array {
    const [begin, end] = this.places.get(name) ?? [0, 0];
    return this.state.subarray(begin, end);
  }

  get plasticity(): Plasticity {
    return this.mode;
  }

  set plasticity(mode: Plasticity) {
    this.mode = mode;
    this.field("plasticity_off").fill(mode === "on" ? 0 : 1);
    if (mode === "off") {
      this.forget();
    }
  }

  /** Clears what was learned: fast weights, and what is to become of them. */
  forget(): void {
    for (const name of this.places.keys()) {
      if (name.endsWith(".fast_weights") || name.endsWith(".eligibility")) {
        this.field(name).fill(0);
      }
    }
  }

  /** An episode starts. */
  reset(): void {
    this.state = new Float32Array(this.state.length);
    this.plasticity = this.mode;
  }

  async act(observation: Float64Array): Promise<number[]> {
    const { action, state } = await this.network.run(observation, this.state);
    this.state = Float32Array.from(state);
    return action;
  }
}
