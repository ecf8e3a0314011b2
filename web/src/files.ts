/** Files of the page itself: nothing else is ever loaded. */

async function answer(path: string): Promise<Response> {
  const found = await fetch(path);
  if (!found.ok) {
    throw new Error(`${path} could not be loaded: ${String(found.status)}`);
  }
  return found;
}

export async function json<T>(path: string): Promise<T> {
  return (await (await answer(path)).json()) as T;
}

export async function text(path: string): Promise<string> {
  return (await answer(path)).text();
}

/** The bytes of a file; what is packed by gzip is unpacked, whatever the server did. */
export async function bytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Uint8Array(await (await answer(path)).arrayBuffer());
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) {
    return packed;
  }
  const unpacked = new Blob([packed])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}
