"""Reading progress.csv, which SB3's logger writes while a policy trains."""

import contextlib
import csv
import math
from pathlib import Path

import numpy as np

from spikepropamine.reading import Missing, read_text

STEPS = "time/total_timesteps"
RETURN = "rollout/ep_rew_mean"


def read_progress(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a progress.csv; without rows that were torn when a process died, and with
    none where there is no file.
    """
    try:
        text = read_text(path, inside=path.parent, errors="replace").replace("\0", "")
    except Missing:
        return [], []
    lines: list[list[str]] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        with contextlib.suppress(csv.Error):
            lines += csv.reader([line])
    keys = lines[0] if lines else []
    rows = [dict(zip(keys, line)) for line in lines[1:] if len(line) == len(keys)]
    return keys, [row for row in rows if math.isfinite(value_of(row.get(STEPS)))]


def value_of(text: str | None) -> float:
    """What a cell says; NaN where that is nothing."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def read_curve(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of a column, float64 [rows] each; empty where there are none."""
    rows = read_progress(path)[1]
    found = np.array([[value_of(row.get(key)) for key in (STEPS, name)] for row in rows])
    steps, values = found.reshape(-1, 2).T
    known = np.isfinite(values)
    return steps[known], values[known]


def seconds_of(path: Path) -> float | None:
    """Of a training, over all its sessions: the clock begins anew with each; None without one."""
    rows = read_progress(path)[1]
    clock = [float(row["time/time_elapsed"]) for row in rows if row.get("time/time_elapsed")]
    ends = [here for here, after in zip(clock, [*clock[1:], 0.0]) if after < here]
    return round(sum(ends)) if ends else None
