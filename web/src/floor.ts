/** The floor: the robot's shadow on squares in two greys, so that speed can be seen. */

import * as THREE from "three";

const CELL = 1; // m, the side of a square
const SIZE = 120; // m
const SHADOW_SIZE = 7; // m, as far as there are shadows
const SHADOW = 0.22; // of the light is lost in it
const LIFT = 0.002; // m, by which the shadow is above the squares

const VERTEX = `
varying vec2 place;
#include <fog_pars_vertex>
void main() {
  place = position.xy / float(${String(CELL)});
  vec4 mvPosition = modelViewMatrix * vec4(position, 1.0);
  gl_Position = projectionMatrix * mvPosition;
  #include <fog_vertex>
}`;

// A texture would be slow where no graphics card draws, and blurred far away. Squares
// are the product of two square waves. Each is averaged over the width of a pixel, by its
// integral.
const FRAGMENT = `
uniform vec3 paint;
varying vec2 place;
#include <fog_pars_fragment>
vec2 integral(vec2 x) {
  return abs(mod(x, 2.0) - 1.0);
}
void main() {
  vec2 width = fwidth(place);
  vec2 waves = (integral(place + 0.5 * width) - integral(place - 0.5 * width)) / width;
  float dark = 0.5 + 0.5 * waves.x * waves.y;
  gl_FragColor = vec4(paint * mix(1.0, 0.84, dark), 1.0);
  #include <colorspace_fragment>
  #include <fog_fragment>
}`;

export class Floor {
  readonly group = new THREE.Group();
  private readonly paint = new THREE.Color();
  private readonly shadow: THREE.Mesh;

  constructor() {
    const material = new THREE.ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: {
        ...THREE.UniformsUtils.clone(THREE.UniformsLib.fog),
        paint: { value: this.paint },
      },
      fog: true,
    });
    const squares = new THREE.Mesh(new THREE.PlaneGeometry(SIZE, SIZE), material);
    this.shadow = new THREE.Mesh(
      new THREE.PlaneGeometry(SHADOW_SIZE, SHADOW_SIZE),
      new THREE.ShadowMaterial({ opacity: SHADOW }),
    );
    this.shadow.receiveShadow = true;
    this.group.add(squares, this.shadow);
  }

  set colour(colour: string) {
    this.paint.set(colour);
  }

  /** Whether there is a shadow on it. */
  set shaded(on: boolean) {
    this.shadow.visible = on;
  }

  set height(z: number) {
    this.group.position.z = z;
  }

  /** Keeps the floor under a place, so that it has no end; its squares do not move. */
  follow(x: number, y: number): void {
    const period = 2 * CELL;
    const left = Math.round(x / period) * period;
    const near = Math.round(y / period) * period;
    this.group.position.setX(left).setY(near);
    this.shadow.position.set(x - left, y - near, LIFT);
  }
}
