"""What an evaluation leaves in its folder: summary, episodes and figures."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.common import UsageError, require, whole_file, write_text
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.film.recording import can_record, record_episode
from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.run.plan import Evaluation
from spikepropamine.evaluation.schema import CLEAN_KEY, Score, Summary
from spikepropamine.reading import read_bytes
from spikepropamine.report import pictures
from spikepropamine.report.terminal import MANY_CONDITIONS

MANY_ROWS = 20_000  # from so many on, a Parquet file is worth having: a fraction of the size


def write(evaluation: Evaluation, summary: Summary, folder: Path) -> None:
    """Fills the folder. The summary comes last: where it is, the rest is too. A report of what was
    there before goes.
    """
    text = json.dumps(summary, indent=2, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "episodes.csv", episodes_csv(evaluation))
    parquet = folder / "episodes.parquet"
    parquet.unlink(missing_ok=True)
    if len(evaluation.seeds) * sum(map(len, evaluation.outcomes)) >= MANY_ROWS:
        try:
            require("pyarrow", "parquet", parquet.name)
            write_parquet(folder / "episodes.csv", parquet)
        except UsageError as error:  # the same is in the CSV file
            print(f"left out: {error}", file=sys.stderr)
    draw(evaluation, summary, folder / "figures")
    for video in (folder / "videos").glob("*.mp4"):
        video.unlink()
    write_text(folder / "summary.json", text + "\n")


def write_parquet(source: Path, path: Path) -> None:
    """The table of a CSV file as Parquet."""
    import pyarrow.csv  # takes its time, and few evaluations need it
    import pyarrow.parquet

    with whole_file(path) as part:
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(io.BytesIO(read_bytes(source))), part)


def episodes_csv(evaluation: Evaluation) -> str:
    """One row per episode; trial_K is 1 where the response to the episode's K-th trial, from 0 on,
    was right, and empty where the trial asked for none.
    """
    conditions = {c.key: c for c in evaluation.conditions}
    trials = evaluation.trials
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    columns = ["policy", "training_seed", "condition", "lesion", "seed", "return", "length"]
    rows.writerow(columns + [f"trial_{trial}" for trial in range(trials)])
    for run, outcomes in zip(evaluation.runs, evaluation.outcomes):
        for key, outcome in outcomes.items():
            for index, seed in enumerate(outcome["seed"]):
                right = ["" if np.isnan(x) else int(x) for x in outcome["correct"][index]]
                right += [""] * (trials - len(right))
                numbers = [seed, outcome["return"][index], outcome["length"][index]]
                lesion = conditions[key].lesion_name or ""
                rows.writerow([run.name, run.seed, key, lesion, *numbers, *right])
    return text.getvalue()


def draw(evaluation: Evaluation, summary: Summary, folder: Path) -> None:
    """The figures: accuracy by trial, scores by condition, and the inside of one episode each."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink(missing_ok=True)  # another evaluation may be at it, too
    settings, policies = summary["settings"], summary["policies"]
    keys = [c["key"] for c in summary["conditions"]]
    labels = {
        name: f"{name} ({len(policy['runs'])} seeds)" if len(policy["runs"]) > 1 else name
        for name, policy in policies.items()
    }
    what = f"{settings['env']}\n{settings['episodes']} new episodes per condition; 95 % intervals"

    def parts(key: str, measure: str) -> dict[str, Any]:
        results: Any = summary["results"]
        found = {labels[name]: of.get(key, {}).get(measure) for name, of in results.items()}
        return {label: part for label, part in found.items() if part is not None}

    if len(keys) <= MANY_CONDITIONS:
        panels = {key: parts(key, "accuracy_by_trial") for key in keys}
        trials = max((len(line) for lines in panels.values() for line in lines.values()), default=0)
        if trials > 1:
            pictures.accuracy_by_trial(
                panels,
                settings["chance"],
                f"Learning inside an episode: {what}",
                folder / "accuracy_by_trial.png",
            )
        measure = "late_accuracy" if trials else "return"
        bars: dict[str, dict[str, Any]] = {label: {} for label in labels.values()}
        for key in keys:
            found = parts(key, measure)
            for name, label in labels.items():
                if label in found:
                    samples = _samples(evaluation, name, key, found[label], measure)
                    bars[label][key] = found[label], samples
        pictures.scores(
            bars,
            measure.replace("_", " "),
            f"{measure.replace('_', ' ').capitalize()} by condition: {what}",
            folder / f"{measure}.png",
            settings["chance"] if trials else None,
        )
    for name in policies:
        run = next(run for run in evaluation.runs if run.name == name)
        if not can_record(run.policy):
            continue
        seed = evaluation.seeds[0]
        env = make_env(evaluation.task, CLEAN, run.previous, run.revealed)
        recording = record_episode(run.policy, env, seed)
        env.close()
        length = len(recording.rewards)
        judged = evaluation.outcomes[evaluation.runs.index(run)][CLEAN_KEY]["length"][0]
        whole = length == judged or not evaluation.deterministic
        how = "" if evaluation.deterministic else ", the likeliest actions"
        pictures.episode(
            recording,
            f"Inside one episode: {name} on {settings['env']}\nepisode of seed {seed}, "
            f"{'' if whole else 'first '}{length} steps{how}",
            folder / f"episode-{name}.png",
        )


def _samples(
    evaluation: Evaluation, name: str, key: str, score: Score, measure: str
) -> list[float]:
    """What the dots of a figure are: runs, or the episodes of a single one."""
    if len(score["by_run"]) > 1:
        return [value for value in score["by_run"] if value is not None]
    (run,) = (number for number, run in enumerate(evaluation.runs) if run.name == name)
    outcome = evaluation.outcomes[run][key]
    each = outcome["return"]
    if measure != "return":
        each = measures.late_accuracy(outcome["correct"], evaluation.trials)
    return list(each[np.isfinite(each)])
