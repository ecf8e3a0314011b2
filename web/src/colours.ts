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

function rgb(text: string): Rgb {
  const whole = Number.parseInt(text.slice(1), 16);
  return [whole >> 16, (whole >> 8) & 255, whole & 255];
}

/** Blue below 0, the paper at 0, red above, full at `bound`: into four bytes of a picture. */
export function diverging(pixels: Uint8ClampedArray, at: number, value: number, bound: number): void {
  const paper = rgb(colour("--paper"));
  const share = Math.min(Math.abs(value) / bound, 1) ** 0.7;
  const full = value < 0 ? BELOW : ABOVE;
  for (let part = 0; part < 3; part += 1) {
    pixels[at + part] = paper[part] + share * (full[part] - paper[part]);
  }
  pixels[at + 3] = 255;
}
