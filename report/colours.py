"""One colour for each policy, in every figure of the project: Okabe and Ito's palette, which the
colour-blind can tell apart (jfly.uni-koeln.de/color). On pages, which are light or dark, a colour
is a CSS variable: charts name it, pages define those used.
"""

import colorsys
import re
import zlib

BLUE, SKY, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#F0E442"
ORANGE, RED, PURPLE, BLACK, GREY = "#E69F00", "#D55E00", "#CC79A7", "#000000", "#7F7F7F"
POLICIES = {
    "ndp-oja": BLUE,
    "ndp-hebb": SKY,
    "ndp-bcm": GREEN,
    "ndp-delta": "#44AA99",
    "dp-oja": "#004B76",
    "dp-hebb": "#2A7FAE",
    "dp-bcm": "#00614A",
    "dp-delta": "#2C7368",
    "snn": ORANGE,
    "snn-sized": "#A87400",
    "rsnn": RED,
    "rsnn-sized": "#8E3E00",
    "lstm": PURPLE,
    "lstm-tuned": "#8A4F70",
    "gru": "#5D3A9B",
    "mlp": GREY,
    "mlp-sized": "#4D4D4D",
    "ideal observer": BLACK,
    "teacher, told": BLACK,
}
OTHERS = (YELLOW, "#332288", "#88CCEE", "#117733", "#999933", "#882255", "#AA4499")


def colour_of(policy: str) -> str:
    """Of a policy, as #RRGGBB: its own, else one that its name always has."""
    return POLICIES.get(policy) or OTHERS[zlib.crc32(policy.encode()) % len(OTHERS)]


PAPER = {
    "paper": ("#ffffff", "#0f1216"),
    "panel": ("#f6f7f9", "#181c22"),
    "ink": ("#1b1f24", "#e8ebee"),
    "quiet": ("#57606a", "#a3acb6"),
    "line": ("#d8dee4", "#343b44"),
    "link": ("#0b5cad", "#79b8ff"),
}
"""Of each name the colour on light and on dark paper."""
CONTRAST = {"c": 3.0, "t": 4.5}
"""With the paper, at least: of lines and dots (`--c-RRGGBB`), and of text (`--t-RRGGBB`)."""
VARIABLE = re.compile(r"var\(--([ct]-([0-9A-Fa-f]{6})|[a-z]+)\)")


def variable(colour: str, kind: str = "c") -> str:
    """The CSS variable of a colour #RRGGBB, of a kind in `CONTRAST`."""
    return f"var(--{kind}-{colour[1:]})"


def styles(page: str) -> str:
    """CSS that defines the variables of a page, whose text it is."""
    series = sorted({found for found in VARIABLE.findall(page) if found[1]})
    sides = []
    for side in (0, 1):
        names = {name: both[side] for name, both in PAPER.items()}
        names |= {
            name: readable(f"#{colour}", names["paper"], CONTRAST[name[0]])
            for name, colour in series
        }
        sides.append(" ".join(f"--{name}: {colour};" for name, colour in names.items()))
    light, dark = (f":root {{ {names} }}" for names in sides)
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}"


def readable(colour: str, paper: str, least: float) -> str:
    """The colour, as much lighter or darker as it takes for this contrast with the paper."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(colour))
    step = 0.02 if _luminance(paper) < 0.2 else -0.02
    while contrast(colour, paper) < least:
        lightness += step
        red, green, blue = (
            round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation)
        )
        colour = f"#{red:02x}{green:02x}{blue:02x}"
    return colour


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as WCAG 2 defines it."""
    low, high = sorted(_luminance(colour) + 0.05 for colour in (one, other))
    return high / low


def _rgb(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _luminance(colour: str) -> float:
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in _rgb(colour)]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear))
