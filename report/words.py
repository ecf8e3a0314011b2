"""Numbers as words: the same figures in sentences, tables and labels."""

from collections.abc import Sequence

from spikepropamine.evaluation.schema import Estimate, Score

MINUS = "\u2212"
UNKNOWN = "?"  # in the place of an interval that cannot be told


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


def with_interval(score: Score | Estimate, as_percent: bool = False) -> str:
    """Like "92 % [88, 95]" or "4,572 [4,539, 4,593]"; "4,572 [?]" where it cannot be told."""
    if score["interval"] is None:
        mean = percent(score["mean"]) if as_percent else number(score["mean"])
        return f"{mean} [{UNKNOWN}]"
    low, high = score["interval"]
    if as_percent:
        return f"{percent(score['mean'])} [{_whole(100 * low)}, {_whole(100 * high)}]"
    like = max(abs(score["mean"]), abs(low), abs(high))
    return f"{number(score['mean'], like)} [{number(low, like)}, {number(high, like)}]"


def edges_of(score: Score | Estimate) -> tuple[float | None, float | None]:
    """Of the interval, if there is one."""
    interval = score["interval"]
    return (None, None) if interval is None else (interval[0], interval[1])


def listed(items: Sequence[str]) -> str:
    """Gives "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def plural(count: int, one: str) -> str:
    """Gives "1 episode", "20 episodes"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
