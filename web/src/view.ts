/** The robot and its twin in 3D, side by side. */

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { colour } from "./colours";
import { Floor } from "./floor";
import type { Physics } from "./physics";
import type { Robot } from "./tasks";
import type { World } from "./perturbations";

/** MuJoCo's types of geoms that are drawn. */
const PLANE = 0;
const SPHERE = 2;
const CAPSULE = 3;
const ELLIPSOID = 4;
const CYLINDER = 5;
const BOX = 6;

const LAG = 0.15; // s by which the camera is late
const PICTURES = 30; // of which the time is measured
const SLOW = 0.02; // s between two pictures
// names of renderers
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
const MASKED = "WebKit WebGL"; // what Chromium and Safari call each at first
const COARSEST = 0.5; // pixels drawn for one of the screen, along a side

/** Where the camera stands, relative to the robot, in m. */
export interface Camera {
  from: [number, number, number];
  height: number;
}

const CAMERAS: Record<string, Camera> = {
  HalfCheetah: { from: [0.5, -3.6, 1.1], height: 0.55 },
  Ant: { from: [-1.2, -5.2, 3.0], height: 0.45 },
  Swimmer: { from: [-0.6, -4.6, 4.4], height: 0 },
  Hopper: { from: [0.8, -4.2, 1.2], height: 0.8 },
  Walker2d: { from: [0.8, -4.2, 1.2], height: 0.8 },
};

export function cameraOf(environment: string): Camera {
  const known = Object.keys(CAMERAS).find((name) => environment.startsWith(name));
  return CAMERAS[known ?? "HalfCheetah"];
}

/** A robot as meshes, whose places are read off MuJoCo before each picture. */
class Figure {
  readonly group = new THREE.Group();
  readonly meshes: THREE.Mesh[] = [];
  private readonly geoms: number[] = [];
  private readonly bodies: number[] = [];
  private readonly materials = new Map<number, THREE.MeshLambertMaterial>();

  constructor(
    readonly robot: Robot,
    private readonly paint: string,
  ) {
    const { model } = robot.physics;
    for (let geom = 0; geom < model.ngeom; geom += 1) {
      const shape = shapeOf(
        model.geom_type[geom],
        model.geom_size.slice(3 * geom, 3 * geom + 3),
      );
      const body: number = model.geom_bodyid[geom];
      if (shape === null || body === 0) {
        continue;
      }
      const material = new THREE.MeshLambertMaterial();
      const mesh = new THREE.Mesh(shape, material);
      mesh.castShadow = true;
      mesh.matrixAutoUpdate = false;
      mesh.userData.body = body;
      this.meshes.push(mesh);
      this.geoms.push(geom);
      this.bodies.push(body);
      this.materials.set(geom, material);
      this.group.add(mesh);
    }
  }

  /** Colours of the limbs: what is changed stands out. */
  colour(world: World): void {
    const { motors } = this.robot.card;
    const joints: Int32Array = this.robot.physics.model.jnt_bodyid;
    const whole = new THREE.Color(colour(this.paint));
    const flipped = new THREE.Color(colour("--mark"));
    const locked = new THREE.Color(colour("--ink"));
    const weak = new THREE.Color(colour("--faint"));
    this.geoms.forEach((geom, place) => {
      const paint = whole.clone();
      motors.forEach(({ joint }, motor) => {
        if (joint === null || joints[joint] !== this.bodies[place]) {
          return;
        }
        if (world.signs[motor] < 0 || world.order[motor] !== motor) {
          paint.copy(flipped);
        }
        const lost = 1 - Math.min(world.value("strength", motor), 1);
        paint.lerp(weak, lost);
        paint.lerp(locked, 0.8 * world.value("joint_lock", motor));
      });
      this.materials.get(geom)!.color.copy(paint);
    });
  }

  /** Moves the meshes to where MuJoCo has them. */
  move(): void {
    const { data } = this.robot.physics;
    const places: Float64Array = data.geom_xpos;
    const turns: Float64Array = data.geom_xmat;
    this.meshes.forEach((mesh, index) => {
      const geom = this.geoms[index];
      const m = turns.subarray(9 * geom, 9 * geom + 9);
      const p = places.subarray(3 * geom, 3 * geom + 3);
      mesh.matrix.set(
        m[0],
        m[1],
        m[2],
        p[0],
        m[3],
        m[4],
        m[5],
        p[1],
        m[6],
        m[7],
        m[8],
        p[2],
        0,
        0,
        0,
        1,
      );
      mesh.matrixWorldNeedsUpdate = true;
    });
  }

  /** Where the robot is, on the floor. */
  get place(): [number, number] {
    const { data } = this.robot.physics;
    return [data.xpos[3], data.xpos[4]];
  }

  dispose(): void {
    for (const mesh of this.meshes) {
      mesh.geometry.dispose();
    }
    for (const material of this.materials.values()) {
      material.dispose();
    }
  }
}

/** The shape of a geom, along z, as MuJoCo has it; null for what is not drawn. */
function shapeOf(type: number, size: ArrayLike<number>): THREE.BufferGeometry | null {
  const upright = (shape: THREE.BufferGeometry): THREE.BufferGeometry =>
    shape.rotateX(Math.PI / 2);
  switch (type) {
    case SPHERE:
      return new THREE.SphereGeometry(size[0], 20, 14);
    case CAPSULE:
      return upright(new THREE.CapsuleGeometry(size[0], 2 * size[1], 4, 16));
    case ELLIPSOID:
      return new THREE.SphereGeometry(1, 20, 14).scale(size[0], size[1], size[2]);
    case CYLINDER:
      return upright(new THREE.CylinderGeometry(size[0], size[0], 2 * size[1], 20));
    case BOX:
      return new THREE.BoxGeometry(2 * size[0], 2 * size[1], 2 * size[2]);
    default:
      return null;
  }
}

/** A hand that pulls at a body: where it began, and where it is. */
export interface Grip {
  body: number;
  /** In m, from where the body is to where the pointer is. */
  pull: THREE.Vector3;
}

export class View {
  private readonly renderer: THREE.WebGLRenderer;
  private readonly scene = new THREE.Scene();
  private readonly camera = new THREE.PerspectiveCamera(40, 1, 0.1, 80);
  private readonly controls: OrbitControls;
  private readonly root = new THREE.Group();
  private readonly floor = new Floor();
  private readonly sun = new THREE.DirectionalLight(0xffffff, 1.6);
  private readonly line: THREE.Line;
  private readonly streaks: THREE.LineSegments;
  private figures: Figure[] = [];
  private width = 1;
  private height = 1;
  private readonly caster = new THREE.Raycaster();
  private grip: { figure: number; body: number; at: THREE.Vector3 } | null = null;
  private readonly follow: [number, number][] = [];
  private sharpness = 1;
  private seen = true;
  private readonly late: number[] = [];
  onGrip: (grip: Grip | null) => void = () => undefined;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const software = isDrawnInSoftware();
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: !software });
    this.renderer.shadowMap.enabled = true;
    this.renderer.setScissorTest(true);
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.minDistance = 1.5;
    this.controls.maxDistance = 14;
    this.controls.maxPolarAngle = Math.PI / 2 - 0.03;
    this.sun.position.set(-2, -3, 6);
    this.shade(!software);
    this.sun.shadow.mapSize.set(1024, 1024);
    const { camera } = this.sun.shadow;
    camera.left = camera.bottom = -3;
    camera.right = camera.top = 3;
    camera.far = 14;
    const sky = new THREE.HemisphereLight(0xffffff, 0xcfd6dd, 1.7);
    this.line = new THREE.Line(
      new THREE.BufferGeometry().setFromPoints([
        new THREE.Vector3(),
        new THREE.Vector3(),
      ]),
      new THREE.LineBasicMaterial(),
    );
    this.line.visible = false;
    this.streaks = streaks();
    this.root.add(this.floor.group);
    this.scene.add(this.root, this.sun, sky, this.line, this.streaks);
    // what has been scrolled away need not be drawn
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
    }).observe(canvas);
    canvas.addEventListener("pointerdown", this.take, { capture: true });
    canvas.addEventListener("pointermove", this.drag);
    canvas.addEventListener("pointerup", this.drop);
    canvas.addEventListener("pointercancel", this.drop);
  }

  /** The robots to be drawn: the first one, and its twin where there is one. */
  show(robots: Robot[], camera: Camera): void {
    for (const figure of this.figures) {
      this.root.remove(figure.group);
      figure.dispose();
    }
    this.figures = robots.map(
      (robot, index) => new Figure(robot, index === 0 ? "--learn" : "--twin"),
    );
    for (const figure of this.figures) {
      this.root.add(figure.group);
    }
    this.follow.length = 0;
    this.controls.target.set(0, 0, camera.height);
    this.camera.position.set(...camera.from).setZ(camera.from[2] + camera.height * 0.4);
    if (robots.length > 0) {
      this.floor.height = floorOf(robots[0].physics);
    }
    this.resize();
    this.controls.update();
  }

  /** Colours of the page, light or dark, and of what is changed in the world. */
  colour(world: World): void {
    const air = new THREE.Color(colour("--air"));
    this.scene.background = air;
    this.scene.fog = new THREE.Fog(air, 9, 26);
    this.floor.colour = colour("--floor");
    (this.line.material as THREE.LineBasicMaterial).color.set(colour("--mark"));
    for (const figure of this.figures) {
      figure.colour(world);
    }
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth === 0 || clientHeight === 0) {
      return;
    }
    this.width = clientWidth;
    this.height = clientHeight;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2) * this.sharpness);
    this.renderer.setSize(clientWidth, clientHeight, false);
    const aspect = clientWidth / this.count / clientHeight;
    this.camera.aspect = aspect;
    // what is narrow has to show the whole robot all the same
    this.camera.fov = aspect > 1.1 ? 40 : Math.min(75, 40 * (1.1 / aspect) ** 0.8);
    this.camera.updateProjectionMatrix();
  }

  private get count(): number {
    return Math.max(this.figures.length, 1);
  }

  /** Draws robot and twin; `seconds` have passed since the last picture. */
  draw(world: World, seconds: number): void {
    if (!this.seen) {
      return;
    }
    this.ease(seconds);
    this.controls.update();
    const slope = (world.value("slope") * Math.PI) / 180;
    const aside = (world.value("gravity_tilt") * Math.PI) / 180;
    const pair = this.width / this.count;
    this.blow(world.value("wind"), seconds);
    this.figures.forEach((figure, index) => {
      figure.move();
      this.track(index, figure, seconds);
      const [x, y] = this.follow[index];
      this.root.rotation.set(-aside, -slope, 0);
      this.root.position.set(0, 0, 0);
      this.root.updateMatrix();
      this.root.position.copy(
        new THREE.Vector3(-x, -y, 0).applyEuler(this.root.rotation),
      );
      this.floor.follow(x, y);
      this.figures.forEach((other) => {
        other.group.visible = other === figure;
      });
      this.stretch(index);
      this.renderer.setViewport(index * pair, 0, pair, this.height);
      this.renderer.setScissor(index * pair, 0, pair, this.height);
      this.renderer.render(this.scene, this.camera);
    });
  }

  /** Draws less where pictures come too late: first shadows go, then pixels. */
  private ease(seconds: number): void {
    this.late.push(seconds);
    if (this.late.length < PICTURES) {
      return;
    }
    const ordered = this.late.splice(0).sort((one, other) => one - other);
    const isLate = ordered[Math.floor(0.75 * PICTURES)] > SLOW;
    if (isLate && this.sun.castShadow) {
      this.shade(false);
    } else if (isLate && this.sharpness > COARSEST) {
      this.sharpness -= 0.25;
      this.resize();
    }
  }

  private shade(on: boolean): void {
    this.sun.castShadow = on;
    this.floor.shaded = on;
  }

  /** The camera follows a little late, so that one sees the robot run. */
  private track(index: number, figure: Figure, seconds: number): void {
    const [x, y] = figure.place;
    const before = this.follow[index] ?? [x, y];
    const far = Math.hypot(x - before[0], y - before[1]) > 3;
    const share = far ? 1 : 1 - Math.exp(-seconds / LAG);
    this.follow[index] = [
      before[0] + share * (x - before[0]),
      before[1] + share * (y - before[1]),
    ];
  }

  /** Streaks of wind. */
  private blow(speed: number, seconds: number): void {
    this.streaks.visible = speed !== 0;
    if (speed === 0) {
      return;
    }
    const places = this.streaks.geometry.getAttribute("position");
    const length = 0.03 * speed;
    (this.streaks.material as THREE.LineBasicMaterial).color.set(colour("--twin"));
    for (let index = 0; index < places.count; index += 2) {
      let x = places.getX(index) - speed * seconds * 0.5;
      x = x < -4 ? x + 8 : x > 4 ? x - 8 : x;
      places.setX(index, x);
      places.setX(index + 1, x + length);
    }
    places.needsUpdate = true;
  }

  /** The line from the body to the hand. */
  private stretch(index: number): void {
    const held = this.grip;
    this.line.visible = held !== null && held.figure === index;
    if (held === null || !this.line.visible) {
      return;
    }
    const body = this.bodyAt(held.figure, held.body);
    this.line.geometry.setFromPoints([body, held.at]);
  }

  /** Where a body is, as the camera sees the world. */
  private bodyAt(index: number, body: number): THREE.Vector3 {
    const { data } = this.figures[index].robot.physics;
    const at = new THREE.Vector3(...data.xipos.slice(3 * body, 3 * body + 3));
    return at.applyMatrix4(
      this.root.matrix.compose(
        this.root.position,
        this.root.quaternion,
        this.root.scale,
      ),
    );
  }

  private point(event: PointerEvent): number {
    const box = this.canvas.getBoundingClientRect();
    const pair = this.width / this.count;
    const x = event.clientX - box.left;
    const index = Math.min(this.count - 1, Math.max(0, Math.floor(x / pair)));
    const held = this.grip?.figure ?? index;
    const across = ((x - held * pair) / pair) * 2 - 1;
    const up = 1 - ((event.clientY - box.top) / this.height) * 2;
    this.caster.setFromCamera(new THREE.Vector2(across, up), this.camera);
    return index;
  }

  private readonly take = (event: PointerEvent): void => {
    const index = this.point(event);
    if (this.figures.length === 0) {
      return;
    }
    this.settle(index);
    const [hit] = this.caster.intersectObjects(this.figures[index].meshes);
    if (hit === undefined) {
      return;
    }
    this.controls.enabled = false;
    this.canvas.classList.add("held");
    this.canvas.setPointerCapture(event.pointerId);
    this.grip = {
      figure: index,
      body: hit.object.userData.body as number,
      at: hit.point,
    };
    this.tell();
  };

  /** Puts the world where the picture of a robot has it. */
  private settle(index: number): void {
    const [x, y] = this.follow[index] ?? [0, 0];
    this.root.position.copy(
      new THREE.Vector3(-x, -y, 0).applyEuler(this.root.rotation),
    );
    this.root.updateMatrixWorld(true);
  }

  private readonly drag = (event: PointerEvent): void => {
    if (this.grip === null) {
      return;
    }
    this.point(event);
    this.settle(this.grip.figure);
    const towards = this.camera.getWorldDirection(new THREE.Vector3());
    const body = this.bodyAt(this.grip.figure, this.grip.body);
    const plane = new THREE.Plane().setFromNormalAndCoplanarPoint(towards, body);
    this.caster.ray.intersectPlane(plane, this.grip.at);
    this.tell();
  };

  /** Tells how far the hand is from the body. */
  private tell(): void {
    if (this.grip === null) {
      this.onGrip(null);
      return;
    }
    const from = this.bodyAt(this.grip.figure, this.grip.body);
    const turn = this.root.quaternion.clone().invert();
    const pull = this.grip.at.clone().sub(from).applyQuaternion(turn);
    this.onGrip({ body: this.grip.body, pull });
  }

  private readonly drop = (): void => {
    this.controls.enabled = true;
    this.canvas.classList.remove("held");
    this.grip = null;
    this.onGrip(null);
  };

  /** Lets the hand follow a robot that runs away from it. */
  hold(): void {
    if (this.grip !== null) {
      this.settle(this.grip.figure);
      this.tell();
    }
  }
}

function floorOf(physics: Physics): number {
  const { model } = physics;
  for (let geom = 0; geom < model.ngeom; geom += 1) {
    if (model.geom_type[geom] === PLANE) {
      return model.geom_pos[3 * geom + 2];
    }
  }
  return 0;
}

/** Whether the processor draws, which is slow, for want of a graphics card. */
function isDrawnInSoftware(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (gl === null) {
    return false;
  }
  let name = String(gl.getParameter(gl.RENDERER));
  const unmasked =
    name === MASKED ? gl.getExtension("WEBGL_debug_renderer_info") : null;
  if (unmasked !== null) {
    name = String(gl.getParameter(unmasked.UNMASKED_RENDERER_WEBGL));
  }
  return SOFTWARE.test(name);
}

function streaks(): THREE.LineSegments {
  const count = 60;
  const places = new Float32Array(count * 6);
  for (let index = 0; index < count; index += 1) {
    const x = Math.random() * 8 - 4;
    const y = Math.random() * 5 - 2.5;
    const z = Math.random() * 2;
    places.set([x, y, z, x, y, z], index * 6);
  }
  const shape = new THREE.BufferGeometry();
  shape.setAttribute("position", new THREE.BufferAttribute(places, 3));
  const material = new THREE.LineBasicMaterial({ transparent: true, opacity: 0.6 });
  const lines = new THREE.LineSegments(shape, material);
  lines.frustumCulled = false;
  return lines;
}
