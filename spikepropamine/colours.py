"""The colours of the project's figures and films, and one for each policy: Okabe and
Ito's palette, which the colour-blind can tell apart (jfly.uni-koeln.de/color).
"""

import zlib

import numpy as np

BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
ORANGE = "#E69F00"
RED = "#D55E00"
PURPLE = "#CC79A7"
BLACK = "#000000"
GREY = "#7F7F7F"
WHITE = "#FFFFFF"
INK = "#222222"
QUIET = "#6E6E6E"
LINE = "#D8D8D8"
"""Of text, of text that stands back, and of the lines of axes and grids."""
BELOW = "#2166AC"
ABOVE = "#B2182B"
"""Ends of the scale of numbers that are below and above zero, which is white."""
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
    if policy in POLICIES:
        return POLICIES[policy]
    return OTHERS[zlib.crc32(policy.encode()) % len(OTHERS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, in [0, 255], of #RRGGBB."""
    colour = colour.removeprefix("#")
    return int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:], 16)


def diverging(values: np.ndarray, bound: float) -> np.ndarray:
    """Colours of numbers: `BELOW` 0, white at 0, `ABOVE` it.

    Args:
        values: of any shape.
        bound: the absolute value from which on a colour is full.

    Returns:
        uint8 [..., 3].
    """
    share = np.clip(values / bound, -1, 1)[..., None]
    full = np.where(share < 0, rgb(BELOW), rgb(ABOVE))
    return np.round(255 + np.abs(share) * (full - 255.0)).astype(np.uint8)
