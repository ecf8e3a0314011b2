/** A task that Python steps: what it sends is drawn, and what the visitor does is sent back. */
export class Live {
  constructor(private readonly port: number) {}

  start(): void {
    throw new Error(`not yet: ${String(this.port)}`);
  }
}
