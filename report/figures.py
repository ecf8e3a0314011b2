"""Figures out of results on file; each function is a kind of figure that a page can ask
for.

They take what tables take, and give a Vega-Lite chart, which vl-convert draws. A
picture remembers a digest of its chart, numbers included.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spikepropamine import table
from spikepropamine.colours import colour_of
from spikepropamine.common import CLEAN_KEY, UsageError, require, whole_file
from spikepropamine.evaluation.measures import DIVERGED, MEASURES
from spikepropamine.reading import read_bytes
from spikepropamine.report.charts import Chart, chart, short
from spikepropamine.report.estimates import estimate
from spikepropamine.report.results import (
    above_random,
    groups,
    lines_on_file,
    main_measure,
    matching,
    of_one_task,
    once,
    task_name,
    values_of,
)
from spikepropamine.statistics import Difference, difference

CHART = "chart"  # the name of the digest in a PNG file
CHANCE = 0.5  # of the cue tasks, which have two answers
SCALE = 2  # pixels of the picture for one of the chart
TIMES = 30  # points of a curve by time
CURVE = (190, 150)  # width and height of a panel of curves
STATIC = ("snn-sized", "mlp-sized")
RECURRENT = ("rsnn-sized", "rsnn")
AGAINST = {"static": STATIC, "recurrent": RECURRENT, "LSTM": ("lstm",)}
LATE = MEASURES["late_accuracy"]


def conditions(
    files: Sequence[Path], chance: float | None = CHANCE, **wanted: str
) -> Chart:
    """Late accuracy by condition: mean, interval and every seed of each policy.

    Args:
        files: tables of results.
        chance: accuracy of guessing; None: not shown.
        wanted: what rows have to have.

    Raises:
        UsageError: there are no such results.
    """
    lines = once(of_one_task(lines_on_file(files, wanted)))
    if LATE.name not in lines.columns:
        raise UsageError("these results do not have late accuracy")
    text = (
        "right responses in the second half of an episode; mean, 95 % interval and "
        "every seed"
    )
    return _dots(lines, "condition", LATE.name, LATE.title, text, chance)


def returns(files: Sequence[Path], **wanted: str) -> Chart:
    """Return by environment in the clean task, relative to the best policy's mean
    there.

    Args:
        files: tables of results.
        wanted: what rows have to have.

    Raises:
        UsageError: there are no such results, or none is above 0; an environment has
            several settings.
    """
    lines = once(lines_on_file(files, {"condition": CLEAN_KEY} | wanted))
    for _, of_environment in groups(lines, "environment"):
        of_one_task(of_environment)
    mean = pl.col("return").mean().over("environment", "policy")
    lines = lines.with_columns(best=mean)
    lines = lines.with_columns(best=pl.col("best").max().over("environment"))
    for environment in lines.filter(pl.col("best") <= 0)["environment"]:
        raise UsageError(
            f"{environment}: no mean return is above 0, so none can be a share of it"
        )
    lines = lines.with_columns(share=pl.col("return") / pl.col("best"))
    text = "return, relative to the best mean; mean, 95 % interval and every seed"
    return _dots(lines, "environment", "share", "return", text)


def trials(
    files: Sequence[Path], chance: float | None = CHANCE, **wanted: str
) -> Chart:
    """Accuracy by trial, a panel for each condition: flat where nothing is learned
    inside an episode.

    Args:
        files: tables of results.
        chance: accuracy of guessing; None: not shown.
        wanted: what rows have to have.

    Raises:
        UsageError: there are no such results.
    """
    lines = once(of_one_task(lines_on_file(files, wanted)))
    rows = table.where(table.read(files), measure="correct")
    rows = _of_runs(rows, lines, [*table.RUN, "suite", "condition"])
    if rows.is_empty():
        raise UsageError("these results do not have accuracy by trial")
    rows = rows.with_columns(x=pl.col("at") + 1, panel="condition")
    return _curves(rows, "trial", "right responses", "right responses by trial", chance)


def learning(files: Sequence[Path], **wanted: str) -> Chart:
    """Return of training episodes by steps, a panel for each task; of the policies of
    which that is known of every run.

    Args:
        files: tables of results.
        wanted: what rows have to have.

    Raises:
        UsageError: there are no such results.
    """
    lines = lines_on_file(files, {"condition": CLEAN_KEY} | wanted)
    lines = lines.filter(pl.col("seed").is_not_null(), ~pl.col(DIVERGED.name))
    rows = table.where(table.read(files), measure="training_return")
    rows = rows.filter(pl.col("at").is_not_null())
    missing = lines.join(rows, on=table.RUN, how="anti", nulls_equal=True)
    rows = _of_runs(rows, lines, table.RUN)
    rows = _of_runs(rows, missing, [*table.TASK, "policy"], but=True)
    if rows.is_empty():
        raise UsageError("these results do not have returns by step")
    task = pl.concat_str(table.TASK, separator=" ", ignore_nulls=True)
    rows = rows.with_columns(x=pl.col("at") / 1e6, panel=task)
    return _curves(rows, "million steps", "return", "return of training episodes")


def times(files: Sequence[Path], **wanted: str) -> Chart:
    """Return of training episodes by the minutes of a core that training took, a panel
    for each task.

    Args:
        files: tables of results with `training_return` and `elapsed`, in seconds, at
            the same environment steps.
        wanted: what rows have to have.

    Raises:
        UsageError: there are no such results.
    """
    rows = matching(table.read(files), wanted)
    keys = [*table.RUN, "at"]
    returned = table.where(rows, measure="training_return").drop_nulls("at")
    elapsed = table.where(rows, measure="elapsed").select(*keys, seconds="value")
    together = returned.join(elapsed, on=keys, nulls_equal=True, maintain_order="left")
    if together.is_empty():
        raise UsageError("these results do not have returns by time")
    curves = []
    for (*task, _), same in groups(together, *table.TASK, "policy"):
        runs = [of_run for _, of_run in groups(same, "seed")]
        panel = pl.lit(task_name(task)).alias("panel")
        curves += [curve.with_columns(panel) for curve in _on_one_grid(runs)]
    text = "return of training episodes by time"
    return _curves(pl.concat(curves), "minutes of one core", "return", text)


def _on_one_grid(runs: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Curves of runs at the same times, while all of them were training, so that they
    can be averaged: `value` by `x`, in minutes.

    Args:
        runs: `value` by `seconds`, of runs of one policy.
    """
    start = max(float(run["seconds"][0]) for run in runs)
    end = min(float(run["seconds"][-1]) for run in runs)
    grid = np.linspace(start, end, TIMES)
    curves = []
    for run in runs:
        values = np.interp(grid, run["seconds"], run["value"])
        points = {"x": pl.Series(grid / 60), "value": pl.Series(values)}
        named = run.head(1).select(table.RUN)
        curves.append(named.join(pl.DataFrame(points), how="cross"))
    return curves


def sizes(files: Sequence[Path], **wanted: str) -> Chart:
    """What tells most about policies by the size of the task, a panel for each
    environment: flat where a policy does as well however much there is to learn.

    Args:
        files: tables of results, whose settings end with a number, as motors-12 does.
        wanted: what rows have to have; `without` names policies that are left out.

    Raises:
        UsageError: there are no such results, or a setting has no number.
    """
    without = wanted.pop("without", "").split(",")
    lines = once(lines_on_file(files, {"condition": CLEAN_KEY} | wanted))
    lines = lines.filter(~pl.col("policy").is_in(without))
    size = pl.col("setting").str.extract(r"(\d+)$").cast(pl.Float64)
    lines = lines.with_columns(x=size, panel="environment")
    for setting in lines.filter(pl.col("x").is_null())["setting"]:
        raise UsageError(f"the setting {setting!r} does not end with a number")
    parts = []
    names = []
    titles = []
    for _, of_task in groups(lines, "environment"):
        measure, _ = main_measure(of_task)
        parts.append(of_task.with_columns(value=pl.col(measure.name)))
        names.append(str(of_task["setting"][0]).rstrip("0123456789-"))
        titles.append(measure.title)
    x_title = " or ".join(dict.fromkeys(names))
    y_title = " or ".join(dict.fromkeys(titles))
    return _curves(
        pl.concat(parts),
        x_title,
        y_title,
        f"{y_title} by {x_title}",
        title=" and ".join(lines["environment"].unique(maintain_order=True)),
        has_points=True,
    )


def _of_runs(
    rows: pl.DataFrame, lines: pl.DataFrame, keys: Sequence[str], but: bool = False
) -> pl.DataFrame:
    """The rows that have the keys of a line, or have not."""
    return rows.join(
        lines,
        on=keys,
        how="anti" if but else "semi",
        nulls_equal=True,
        maintain_order="left",
    )


def forest(files: Sequence[Path], **wanted: str) -> Chart:
    """What plasticity adds, a row for each task: the first plastic policy of the file
    less a static one of a like size, a recurrent one and an LSTM. There is no row for
    all, as tasks have different units.

    Late accuracies are above chance and relative to 1, paces as they are, and returns
    above random actions and relative to the mean of the static policy.

    Args:
        files: tables of results.
        wanted: `with` names files whose runs are added to those of their namesake:
            `robots-lstm` to `robots`.

    Raises:
        UsageError: there are no such results.
        KeyError: a policy is missing.
    """
    points = []
    labels = []
    added = wanted.get("with", "").split(",")
    for file in files:
        more = [name for name in added if name.startswith(file.stem)]
        together = [file, *(file.with_name(f"{name}.csv") for name in more)]
        lines = lines_on_file(together, {"lesion": ""})
        lines = lines.filter(pl.col("seed").is_not_null())
        for task, of_task in groups(lines, *table.TASK):
            plastic, values, unit = _values_of_task(of_task)
            label = f"{task_name(task)}, {plastic} ({file.stem})"
            labels.append(label)
            for name, others in AGAINST.items():
                other = next((policy for policy in others if policy in values), None)
                if other is None:
                    continue
                score = difference(values[plastic], values[other])
                points.append(_point(name, label, score, unit))
    return chart(
        "forest",
        values=points,
        title="Plastic networks less others",
        text=[
            "above 0 the plastic network is better; mean and 95 % interval over seeds,",
            "1 is from chance to the best possible, or the static policy's return",
        ],
        panels=list(AGAINST),
        tasks=labels,
        height=22 * len(labels),
        colour=colour_of("ndp-oja"),
    )


def _values_of_task(
    lines: pl.DataFrame,
) -> tuple[str, dict[str, np.ndarray], float]:
    """The plastic policy of a task, the values of the runs of each policy, and their
    unit.
    """
    measure, condition = main_measure(lines)
    lines = once(lines.filter(pl.col("condition") == condition))
    values = {
        policy: values_of(of_policy, measure.name)
        for (policy,), of_policy in groups(lines, "policy")
    }
    plastic = next((name for name in values if name.startswith("ndp-")), "ndp-oja")
    if plastic not in values:
        raise KeyError(plastic)  # names what could be there
    if measure.of_contexts:
        unit = 1.0
    elif measure is LATE:
        unit = 1 - CHANCE
    else:
        static = next((policy for policy in STATIC if policy in values), "mlp")
        mean = float(values[static].mean())
        unit = above_random(
            mean, lines, f"{task_name(lines.select(table.TASK).row(0))}: {static!r}"
        )
    return plastic, values, unit


FIGURES = {
    kind.__name__: kind
    for kind in (conditions, trials, returns, learning, times, sizes, forest)
}


def draw(chart: Chart, path: Path) -> None:
    """Draws a chart to a PNG file.

    Args:
        chart: to be drawn.
        path: of the picture, in a folder that exists.

    Raises:
        UsageError: the extra `pages` is missing.
    """
    require("vl_convert", "pages", "a figure")
    import vl_convert

    picture = vl_convert.vegalite_to_png(json.dumps(chart), scale=SCALE)
    information = PngInfo()
    information.add_text(CHART, digest(chart))
    with Image.open(io.BytesIO(picture)) as image, whole_file(path) as part:
        few_colours = image.convert("RGB").quantize(128)
        few_colours.save(part, "png", pnginfo=information, optimize=True)


def agrees(chart: Chart, path: Path) -> bool:
    """Whether a picture is there and is of this very chart.

    Args:
        chart: as it is now.
        path: of the picture.
    """
    if not path.is_file():
        return False
    with Image.open(io.BytesIO(read_bytes(path))) as image:
        return image.info.get(CHART) == digest(chart)


def digest(chart: Chart) -> str:
    """A digest of what a chart shows, whatever version of the library wrote it."""
    content = {name: part for name, part in chart.items() if name != "$schema"}
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _point(
    against: str, task: str, score: Difference, unit: float
) -> dict[str, str | float]:
    low, high = score.interval or (score.mean, score.mean)
    return {
        "against": against,
        "task": task,
        "mean": short(score.mean / unit),
        "low": short(low / unit),
        "high": short(high / unit),
    }


def _dots(
    lines: pl.DataFrame,
    axis: str,
    measure: str,
    title: str,
    text: str,
    chance: float | None = None,
) -> Chart:
    """Means, intervals and seeds of each policy, side by side, a panel for each value
    of `axis`.
    """
    seeds: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    for (at, policy), some in groups(lines, axis, "policy"):
        values = values_of(some, measure)
        score = estimate(values[:, None])
        if score is None:
            continue
        low, high = score.interval or (score.mean, score.mean)
        of = {"at": at, "policy": policy}
        mean = {"y": short(score.mean), "low": short(low), "high": short(high)}
        means.append(of | mean)
        seeds += [of | {"y": short(value)} for value in values]
    return chart(
        "seeds",
        values=[row | {"kind": "mean"} for row in means] + seeds,
        text=[text],
        y_title=title,
        width=18 * len({row["policy"] for row in means}),
        **_shared(lines, means, "at", chance),
    )


def _curves(
    rows: pl.DataFrame,
    x_title: str,
    y_title: str,
    text: str,
    chance: float | None = None,
    title: str | None = None,
    has_points: bool = False,
) -> Chart:
    """Curves of runs, `value` by `x`: their mean, and faint lines for the single ones,
    a panel for each value of `panel`. Where curves have few points, these are marked.
    """
    of_run = rows.group_by("panel", "policy", "seed", "x", maintain_order=True)
    means = of_run.agg(pl.col("value").mean())
    means = means.with_columns(pl.col("x", "value").round_sig_figs(5))
    values = means.select("panel", "policy", "seed", "x", "value").to_dicts()
    shared = _shared(rows, values, "panel", chance)
    if title is not None:
        shared["title"] = title
    share = chance is not None
    several = len(shared["panels"]) > 1
    width, height = CURVE if several else (2 * CURVE[0], 2 * CURVE[1])
    return chart(
        "runs",
        values=values,
        text=[f"{text}, mean and every seed"],
        several=several,
        columns=4 if share else 3,
        resolve=None if share else {"scale": {"x": "independent", "y": "independent"}},
        width=width,
        height=height,
        x_title=x_title,
        y_title=y_title,
        points=has_points,
        **shared,
    )


def _shared(
    frame: pl.DataFrame,
    rows: Sequence[dict[str, Any]],
    panel: str,
    chance: float | None,
) -> dict[str, Any]:
    """What charts of policies in panels have in common."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    tasks = list(dict.fromkeys(map(task_name, frame.select(table.TASK).iter_rows())))
    return {
        "title": tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks",
        "panels": list(dict.fromkeys(row[panel] for row in rows)),
        "policies": policies,
        "colours": [colour_of(policy) for policy in policies],
        "chance": chance,
        "zero": chance is not None,
    }
