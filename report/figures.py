"""Figures out of results on file; each function is a kind of figure that a page can ask for.

They take what tables take, and give a Vega-Lite chart, which vl-convert draws. A picture remembers
a digest of its chart, numbers included.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY, UsageError, whole_file
from spikepropamine.reading import read_bytes
from spikepropamine.report.charts import Chart, chart, short
from spikepropamine.report.colours import colour_of
from spikepropamine.statistics import Difference, difference, interval, pooled

CHART = "chart"  # the name of the digest in a PNG file
CHANCE = 0.5  # of the cue tasks, which have two answers
SCALE = 2  # pixels of the picture for one of the chart
CURVE = (190, 150)  # width and height of a panel of curves
STATIC, RECURRENT = ("snn-sized", "mlp-sized"), ("rsnn-sized", "rsnn")
AGAINST = {"static": STATIC, "recurrent": RECURRENT, "LSTM": ("lstm",)}
POOLED = "all tasks"


def conditions(
    files: Sequence[Path], chance: float | None = CHANCE, **asked: str
) -> Chart:
    """Late accuracy by condition: mean, interval and every seed of each policy."""
    lines = table.once(table.of_one_task(table.lines_where(files, asked)))
    if "late_accuracy" not in lines.columns:
        raise UsageError("these results do not have late accuracy")
    text = "right responses in the second half of an episode; mean, 95 % interval and every seed"
    return _dots(lines, "condition", "late_accuracy", "late accuracy", text, chance)


def returns(files: Sequence[Path], **asked: str) -> Chart:
    """Return by environment in the clean task, relative to the best policy's mean there."""
    lines = table.once(table.lines_where(files, {"condition": CLEAN_KEY} | asked))
    mean = pl.col("return").mean().over("environment", "policy")
    lines = lines.with_columns(best=mean).with_columns(
        pl.col("best").max().over("environment")
    )
    for env in lines.filter(pl.col("best") <= 0)["environment"]:
        raise UsageError(
            f"{env}: no mean return is above 0, so none can be a share of it"
        )
    lines = lines.with_columns(share=pl.col("return") / pl.col("best"))
    text = "return, relative to the best mean; mean, 95 % interval and every seed"
    return _dots(lines, "environment", "share", "return", text)


def trials(files: Sequence[Path], chance: float | None = CHANCE, **asked: str) -> Chart:
    """Accuracy by trial, a panel for each condition: flat where nothing is learned inside an
    episode.
    """
    lines = table.once(table.of_one_task(table.lines_where(files, asked)))
    rows = table.where(table.read(files), measure="correct")
    keys = [*table.RUN, "suite", "condition"]
    rows = rows.join(
        lines, on=keys, how="semi", nulls_equal=True, maintain_order="left"
    )
    if rows.is_empty():
        raise UsageError("these results do not have accuracy by trial")
    rows = rows.with_columns(x=pl.col("at") + 1, panel="condition")
    return _curves(rows, "trial", "right responses", "right responses by trial", chance)


def learning(files: Sequence[Path], **asked: str) -> Chart:
    """Return of training episodes by steps, a panel for each task; of the policies of which that is
    known of every run.
    """
    lines = table.lines_where(files, {"condition": CLEAN_KEY} | asked)
    lines = lines.filter(pl.col("seed").is_not_null())
    rows = table.where(table.read(files), measure="training_return")
    rows = rows.filter(pl.col("at").is_not_null())
    less = lines.join(rows, on=table.RUN, how="anti", nulls_equal=True)
    rows = rows.join(
        lines, on=table.RUN, how="semi", nulls_equal=True, maintain_order="left"
    )
    keys = [*table.TASK, "policy"]
    rows = rows.join(less, on=keys, how="anti", nulls_equal=True, maintain_order="left")
    if rows.is_empty():
        raise UsageError("these results do not have returns by step")
    task = pl.concat_str(table.TASK, separator=" ", ignore_nulls=True)
    rows = rows.with_columns(x=pl.col("at") / 1e6, panel=task)
    return _curves(rows, "million steps", "return", "return of training episodes")


def forest(files: Sequence[Path], **asked: str) -> Chart:
    """What plasticity adds, a row for each file of results and one for all: the first plastic
    policy of the file less a static one of a like size, a recurrent one and an LSTM.

    Late accuracies are above chance and relative to 1, paces as they are, and returns above random
    actions and relative to the mean of the static policy. `with=FILE` adds runs of another file to
    those of FILE's namesake: `robots-lstm` to `robots`.
    """
    points = []
    samples: dict[str, tuple[dict, dict, dict]] = {
        name: ({}, {}, {}) for name in AGAINST
    }
    labels = []
    for file in files:
        more = [
            other
            for other in asked.get("with", "").split(",")
            if other.startswith(file.stem)
        ]
        together = [file, *(file.with_name(f"{other}.csv") for other in more)]
        lines = table.lines_where(together, {"lesion": ""}).filter(
            pl.col("seed").is_not_null()
        )
        for task, of in table.groups(lines, *table.TASK):
            measure, condition = table.main_measure(of)
            of = table.once(of.filter(pl.col("condition") == condition))
            by_policy = table.groups(of, "policy")
            values = {
                policy: table.values_of(some, measure) for (policy,), some in by_policy
            }
            # where there is none, a KeyError names what could be there
            plastic = next(
                (policy for policy in values if policy.startswith("ndp-")), "ndp-oja"
            )
            mine = values[plastic]
            unit = {"settled_pace": 1.0, "late_accuracy": 1 - CHANCE}.get(measure, 0.0)
            if not unit:
                static = next((policy for policy in STATIC if policy in values), "mlp")
                unit = float(values[static].mean() - of["random_return"].mean())
            labels.append(label := f"{table.task_name(task)}, {plastic} ({file.stem})")
            for name, others in AGAINST.items():
                other = next((policy for policy in others if policy in values), None)
                if other is None:
                    continue
                for kept, one in zip(samples[name], (mine, values[other], unit)):
                    kept[label] = one
                points.append(
                    _point(name, label, difference(mine, values[other]), unit)
                )
    for name, sample in samples.items():
        if len(sample[-1]) > 1:
            points.append(_point(name, POOLED, pooled(*sample), 1.0))
    return chart(
        "forest",
        values=points,
        title="Plastic networks less others",
        text=["above 0 the plastic network is better; mean and 95 % interval over seeds,",
              "1 is from chance to the best possible, or the static policy's return"],
        panels=list(AGAINST),
        tasks=[*labels, POOLED],
        height=22 * (len(labels) + 1),
        colour=colour_of("ndp-oja"),
    )  # fmt: skip


FIGURES = {
    kind.__name__: kind for kind in (conditions, trials, returns, learning, forest)
}


def draw(chart: Chart, path: Path) -> None:
    """Draws a chart to a PNG file."""
    picture = vl_convert.vegalite_to_png(json.dumps(chart), scale=SCALE)
    information = PngInfo()
    information.add_text(CHART, digest(chart))
    with Image.open(io.BytesIO(picture)) as image, whole_file(path) as part:
        image.convert("RGB").quantize(128).save(
            part, "png", pnginfo=information, optimize=True
        )


def agrees(chart: Chart, path: Path) -> bool:
    """Whether a picture is there and is of this very chart."""
    if not path.is_file():
        return False
    with Image.open(io.BytesIO(read_bytes(path))) as image:
        return image.info.get(CHART) == digest(chart)


def digest(chart: Chart) -> str:
    """Of a chart, whatever version of the library wrote it."""
    text = json.dumps(
        {name: of for name, of in chart.items() if name != "$schema"}, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _point(against: str, task: str, found: Difference, unit: float) -> dict[str, Any]:
    low, high = found.interval or (found.mean, found.mean)
    edges = {"mean": found.mean, "low": low, "high": high}
    return {"against": against, "task": task} | {
        k: short(x / unit) for k, x in edges.items()
    }


def _dots(
    lines: pl.DataFrame,
    axis: str,
    measure: str,
    title: str,
    text: str,
    chance: float | None = None,
) -> Chart:
    """Means, intervals and seeds of each policy, side by side, a panel for each value of `axis`."""
    seeds, means = [], []
    for (at, policy), some in table.groups(lines, axis, "policy"):
        values = table.values_of(some, measure)
        low, high = interval(values) or (values.mean(), values.mean())
        of = {"at": at, "policy": policy}
        means.append(
            of | {"y": short(values.mean()), "low": short(low), "high": short(high)}
        )
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
) -> Chart:
    """Curves of runs, `value` by `x`: their mean, and faint lines for the single ones, a panel for
    each value of `panel`.
    """
    of_run = rows.group_by("panel", "policy", "seed", "x", maintain_order=True)
    means = of_run.agg(pl.col("value").mean()).with_columns(
        pl.col("x", "value").round_sig_figs(5)
    )
    values = means.select("panel", "policy", "seed", "x", "value").to_dicts()
    shared, share = _shared(rows, values, "panel", chance), chance is not None
    several = len(shared["panels"]) > 1
    size = 1 if several else 2
    return chart(
        "runs",
        values=values,
        text=[f"{text}, mean and every seed"],
        several=several,
        columns=4 if share else 3,
        resolve=None if share else {"scale": {"x": "independent", "y": "independent"}},
        width=CURVE[0] * size,
        height=CURVE[1] * size,
        x_title=x_title,
        y_title=y_title,
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
    tasks = list(
        dict.fromkeys(map(table.task_name, frame.select(table.TASK).iter_rows()))
    )
    return {
        "title": tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks",
        "panels": list(dict.fromkeys(row[panel] for row in rows)),
        "policies": policies,
        "colours": [colour_of(policy) for policy in policies],
        "chance": chance,
        "zero": chance is not None,
    }
