"""Numbers as words, the same in sentences, tables, labels and the terminal."""

from collections.abc import Sequence

MINUS = "\u2212"
UNKNOWN = "?"  # in the place of an interval that is not known


def number(value: float, like: float | None = None) -> str:
    """About three digits: 4571.8 is "4,572", 12.34 "12.3", 0.4567 "0.457".

    With `like`, as many decimals as that number has.
    """
    size = float(f"{abs(value if like is None else like):.3g}")
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    if value and size < 0.001:
        return f"{value:.1e}".replace("-", MINUS)
    text = f"{value:,.{decimals}f}" if value else "0"
    return text.replace("-", MINUS)


def percent(value: float) -> str:
    """A fraction as a percentage: 0.917 is "92 %"."""
    return f"{_whole(100 * value)}\u00a0%"


def _whole(value: float) -> str:
    return "0" if abs(value) < 0.5 else f"{value:,.0f}".replace("-", MINUS)


def with_interval(
    mean: float, interval: Sequence[float] | None, as_percent: bool = False
) -> str:
    """Like "92 % [88, 95]" or "4,572 [4,539, 4,593]"; "4,572 [?]" where it is not known."""
    if interval is None:
        return f"{percent(mean) if as_percent else number(mean)} [{UNKNOWN}]"
    low, high = interval
    if as_percent:
        return f"{percent(mean)} [{_whole(100 * low)}, {_whole(100 * high)}]"
    like = max(abs(mean), abs(low), abs(high))
    return f"{number(mean, like)} [{number(low, like)}, {number(high, like)}]"


def listed(items: Sequence[str]) -> str:
    """Gives "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def plural(count: int, one: str) -> str:
    """Gives "1 episode", "20 episodes"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def p_value(p: float) -> str:
    """Three decimals: "0.032"; less than a thousandth is "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
