"""One colour for each policy, in every figure of the project: Okabe and Ito's palette, which the
colour-blind can tell apart (jfly.uni-koeln.de/color). On pages, which are light or dark, a colour
is a CSS variable.
"""

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


def paint(policy: str, kind: str = "c") -> str:
    """The CSS variable of a policy's colour, "c" for lines and dots, "t" for text; of what is there
    for comparison alone, an empty name, that of a quiet one.
    """
    return f"var(--{kind}-{colour_of(policy)[1:]})" if policy else "var(--quiet)"


def styles() -> str:
    """CSS that defines these variables: page.css has which lightness stands out from the paper."""
    names = [
        (kind, colour[1:]) for kind in "ct" for colour in (*POLICIES.values(), *OTHERS)
    ]
    lightness = "clamp(var(--{0}-least), l, var(--{0}-most))"
    form = f"--{{0}}-{{1}}: oklch(from #{{1}} {lightness} c h);"
    return (
        f":root {{ {' '.join(form.format(*name) for name in dict.fromkeys(names))} }}"
    )
