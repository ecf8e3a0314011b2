/** Random numbers that a seed reproduces. They are the page's own, not NumPy's. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = (seed ^ 0x9e3779b9) >>> 0;
  }

  /** Uniform in [0, 1): mulberry32. */
  uniform(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** Standard normal: Box and Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A whole number from 0 to `below` - 1. */
  whole(below: number): number {
    return Math.floor(this.uniform() * below);
  }

  /** The numbers from 0 to `size` - 1 in random order. */
  permutation(size: number): number[] {
    const order = Array.from({ length: size }, (_, index) => index);
    for (let last = size - 1; last > 0; last -= 1) {
      const other = this.whole(last + 1);
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }
}
