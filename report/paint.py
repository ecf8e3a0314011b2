"""The colours of policies on pages, which are light or dark: CSS variables."""

from spikepropamine.colours import OTHERS, POLICIES, colour_of


def paint(policy: str, kind: str = "c") -> str:
    """The CSS variable of a policy's colour.

    Args:
        policy: its name; empty for what is there for comparison alone, which is quiet.
        kind: "c" of lines and dots, "t" of text.
    """
    if not policy:
        return "var(--quiet)"
    return f"var(--{kind}-{colour_of(policy)[1:]})"


def styles() -> str:
    """CSS that defines these variables: page.css has which lightness stands out from
    the paper.
    """
    definitions = []
    for kind in ("c", "t"):
        for colour in dict.fromkeys((*POLICIES.values(), *OTHERS)):
            lightness = f"clamp(var(--{kind}-least), l, var(--{kind}-most))"
            definitions.append(
                f"--{kind}-{colour[1:]}: oklch(from {colour} {lightness} c h);"
            )
    return f":root {{ {' '.join(definitions)} }}"
