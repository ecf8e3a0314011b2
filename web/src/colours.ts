/** The page's colours live in its style sheet, where light and dark have their own. */

let known = new Map<string, string>();

export function colour(name: string): string {
  let found = known.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    known.set(name, found);
  }
  return found;
}

/** Calls back when the visitor's system turns light or dark. */
export function onTurn(turned: () => void): void {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    known = new Map();
    turned();
  });
}

type Rgb = [number, number, number];
const BELOW: Rgb = [33, 102, 172];
const ABOVE: Rgb = [178, 24, 43];
const SHADES = 128; // on each side of 0

/** The three parts of a colour, such as #fff or #1d2733. */
export function rgb(text: string): Rgb {
  const digits = text.slice(1);
  const whole = digits.length === 3 ? digits.replaceAll(/./g, "$&$&") : digits;
  const value = Number.parseInt(whole, 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A colour as the four bytes of a pixel. */
export function pixel([red, green, blue]: Rgb): number {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

let shades: { paper: string; table: Uint32Array } | null = null;

/** Pixels from blue over the paper to red, for values from -1 to 1. */
function diverging(): Uint32Array {
  const paper = colour("--paper");
  if (shades?.paper === paper) {
    return shades.table;
  }
  const middle = rgb(paper);
  const table = new Uint32Array(2 * SHADES + 1);
  table.forEach((_, place) => {
    const value = (place - SHADES) / SHADES;
    const share = Math.abs(value) ** 0.7;
    const full = value < 0 ? BELOW : ABOVE;
    const mixed = middle.map((part, index) =>
      Math.round(part + share * (full[index] - part)),
    );
    table[place] = pixel(mixed as Rgb);
  });
  shades = { paper, table };
  return table;
}

/** Paints values: blue below 0, the paper at 0, red above, full at `bound`. */
export function paint(pixels: Uint32Array, values: Float32Array, bound: number): void {
  const table = diverging();
  const scale = SHADES / bound;
  for (let index = 0; index < pixels.length; index += 1) {
    const shade = Math.round(
      Math.min(Math.max(values[index] * scale, -SHADES), SHADES),
    );
    pixels[index] = table[SHADES + shade];
  }
}
