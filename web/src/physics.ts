/** MuJoCo, and the model and data of one robot in it. */

import loadMujoco, { type MainModule, type MjData, type MjModel } from "@mujoco/mujoco";
import type { World } from "./perturbations";

export type Mujoco = MainModule;

export async function startMujoco(wasm?: Uint8Array<ArrayBuffer>): Promise<Mujoco> {
  const quiet = { print: ignore, printErr: ignore };
  return loadMujoco(wasm === undefined ? quiet : { ...quiet, wasmBinary: wasm.buffer });
}

/** MuJoCo warns of an old word in Gymnasium's file. */
function ignore(): void {
  // nothing is to be said
}

const EDITED = [
  "actuator_gainprm",
  "actuator_biasprm",
  "jnt_range",
  "body_mass",
  "body_inertia",
  "geom_friction",
] as const;

export class Physics {
  readonly model: MjModel;
  readonly data: MjData;
  private readonly scratch: MjData;
  private readonly nominal: Map<string, Float64Array>;
  private readonly option: { density: number; viscosity: number };
  private edited = false;

  constructor(
    readonly mujoco: Mujoco,
    xml: string,
  ) {
    this.model = mujoco.MjModel.from_xml_string(xml);
    this.data = new mujoco.MjData(this.model);
    this.scratch = new mujoco.MjData(this.model);
    const { opt } = this.model;
    this.nominal = new Map(EDITED.map((name) => [name, this.model[name].slice()]));
    this.nominal.set("gravity", opt.gravity.slice());
    this.nominal.set("wind", opt.wind.slice());
    this.option = { density: opt.density, viscosity: opt.viscosity };
  }

  get timestep(): number {
    return this.model.opt.timestep;
  }

  /** In kg, of all bodies. */
  get mass(): number {
    return this.model.body_subtreemass[0];
  }

  /** Makes the model what the world says; it starts from the nominal one each time. */
  apply(world: World): void {
    const { opt } = this.model;
    for (const name of EDITED) {
      this.model[name].set(this.nominal.get(name)!);
    }
    opt.gravity.set(this.nominal.get("gravity")!);
    opt.wind.set(this.nominal.get("wind")!);
    opt.density = this.option.density;
    opt.viscosity = this.option.viscosity;
    const constants = world.edit(this.model);
    if (constants || this.edited) {
      this.mujoco.mj_setConst(this.model, this.scratch);
    }
    this.edited = constants;
  }

  /** As Gymnasium's `set_state` after MuJoCo's reset. */
  reset(positions: ArrayLike<number>, velocities: ArrayLike<number>): void {
    this.mujoco.mj_resetData(this.model, this.data);
    this.data.qpos.set(positions);
    this.data.qvel.set(velocities);
    this.mujoco.mj_forward(this.model, this.data);
  }

  /** One step of the simulator, under forces of the hand, which hold for this step. */
  step(control: ArrayLike<number>): void {
    this.data.ctrl.set(control);
    this.mujoco.mj_step(this.model, this.data);
  }

  /** Forces at the contacts, which `mj_step` leaves out. */
  finish(): void {
    this.mujoco.mj_rnePostConstraint(this.model, this.data);
  }

  /** Pulls a body at its middle by a force in N; null: lets it go. */
  pull(body: number, force: ArrayLike<number> | null): void {
    this.data.xfrc_applied.fill(0);
    if (force !== null) {
      this.data.xfrc_applied.set(force, 6 * body);
    }
  }

  delete(): void {
    this.scratch.delete();
    this.data.delete();
    this.model.delete();
  }
}
