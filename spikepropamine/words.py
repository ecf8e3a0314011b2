"""Numbers as words, the same in sentences, tables, labels and the terminal."""

from collections.abc import Sequence

MINUS = "\u2212"


def number(value: float, like: float | None = None) -> str:
    """About three digits: 4571.8 is "4,572", 12.34 "12.3", 0.4567 "0.457".

    Args:
        value: the number.
        like: another one, which says how many decimals there are.
    """
    if value == 0:
        return "0"
    size = float(f"{abs(value if like is None else like):.3g}")
    if size < 0.001:
        return f"{value:.1e}".replace("-", MINUS)
    decimals = 3 - sum(size >= least for least in (1, 10, 100))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def percent(value: float) -> str:
    """A fraction as a percentage: 0.917 is "92 %"."""
    return f"{_whole(100 * value)}\u00a0%"


def _whole(value: float) -> str:
    return "0" if abs(value) < 0.5 else f"{value:,.0f}".replace("-", MINUS)


def with_interval(
    mean: float,
    interval: Sequence[float] | None,
    as_percent: bool = False,
    without: str = "no interval",
) -> str:
    """A mean with its interval, "92 % [88, 95]" or "4,572 [4,539, 4,593]".

    Args:
        mean: the number.
        interval: its lower and upper end; None where it is not known.
        as_percent: whether the number is a fraction, and shown as a percentage.
        without: says why there is no interval: "1.00 (all 5 equal)".

    Returns:
        The text; the mean alone where the interval has no width, as of what is 1 by
        definition.
    """
    if interval is None:
        alone = percent(mean) if as_percent else number(mean)
        return f"{alone} ({without})"
    low, high = interval
    if low == high:
        return percent(mean) if as_percent else number(mean)
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
