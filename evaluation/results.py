"""What an evaluation leaves: summaries, files, figures, comparisons and tables."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from evaluation import figures
from evaluation.conditions import make_env, spread_of
from evaluation.episodes import Episode
from evaluation.recording import can_record, record_episode
from evaluation.runs import Run, describe_task
from evaluation.statistics import summarize_episodes, summarize_runs


def summary_of(
    run: Run,
    episodes: dict[str, list[Episode]],
    seeds: range,
    deterministic: bool,
    versions: dict[str, str],
) -> dict[str, Any]:
    """What goes into summary.json."""
    return {
        "settings": {
            "env": run.environment,
            "env_kwargs": run.arguments,
            "policy": run.name,
            "training_seed": run.seed,
            "steps_trained": run.steps,
            "episodes": len(seeds),
            "seeds": [seeds.start, seeds.stop - 1],
            "deterministic": deterministic,
            "versions": versions,
        },
        "conditions": {name: summarize_episodes(some) for name, some in episodes.items()},
    }


def write(run: Run, episodes: dict[str, list[Episode]], summary: dict[str, Any]) -> None:
    """Fills the evaluation's folder. The summary comes last: where it is, the rest is too."""
    (run.results / "figures").mkdir(parents=True, exist_ok=True)
    write_text(run.results / "episodes.csv", _csv(episodes))
    draw(run, episodes, summary)
    write_text(run.results / "summary.json", json.dumps(summary, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes under another name first, so that nobody finds half a file."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


def _csv(episodes: dict[str, list[Episode]]) -> str:
    """One row per episode; trial_K is 1 where the response of trial K was right."""
    trials = max(len(episode.correct) for some in episodes.values() for episode in some)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    columns = ["condition", "seed", "return", "length"]
    rows.writerow(columns + [f"trial_{trial}" for trial in range(trials)])
    for name, some in episodes.items():
        for e in some:
            missing = [""] * (trials - len(e.correct))
            rows.writerow([name, e.seed, e.total_reward, e.length, *map(int, e.correct), *missing])
    return text.getvalue()


def draw(run: Run, episodes: dict[str, list[Episode]], summary: dict[str, Any]) -> None:
    """The figures of one run."""
    folder, conditions = run.results / "figures", summary["conditions"]
    task = describe_task(run)
    what = f"{run.name} on {run.environment}"
    count = summary["settings"]["episodes"]
    note = f"{count} new episodes per condition; mean and 95 % interval"
    by_trial = {
        name: part["accuracy_by_trial"]
        for name, part in conditions.items()
        if part["accuracy_by_trial"] is not None
    }
    if by_trial and max(map(len, by_trial.values())) > 1:
        figures.accuracy_by_trial(
            {"": by_trial},
            task.chance,
            f"Learning inside an episode: {what}\n{note}",
            folder / "accuracy_by_trial.png",
        )
    returns = {
        name: (part["return"], [episode.total_reward for episode in episodes[name]])
        for name, part in conditions.items()
    }
    figures.scores(
        {run.name: returns},
        "return of an episode",
        f"Return by condition: {what}\n{note}",
        folder / "return.png",
    )
    if can_record(run.policy):
        condition, seed = run.conditions[0], summary["settings"]["seeds"][0]
        env = make_env(run.environment, run.arguments, condition, spread_of(run.policy))
        recording = record_episode(run.policy, env, seed, plasticity=condition.plasticity)
        env.close()
        length = len(recording.rewards)
        figures.episode(
            recording,
            f"Inside one episode: {what}\nepisode of seed {seed}, condition {condition.name}, "
            f"{'first ' * (length < episodes[condition.name][0].length)}{length} steps",
            folder / "episode.png",
        )


def compare(runs: list[Run], summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs grouped by policy: {policy: {"seeds": [...], "runs": [...], "conditions": {...}}}."""
    groups: dict[str, Any] = {}
    for name in dict.fromkeys(run.name for run in runs):
        members = [(r, s) for r, s in zip(runs, summaries) if r.name == name]
        shared = [
            c for c in members[0][1]["conditions"] if all(c in s["conditions"] for _, s in members)
        ]
        groups[name] = {
            "seeds": [run.seed for run, _ in members],
            "runs": [str(run.folder) for run, _ in members],
            "conditions": {
                c: summarize_runs([s["conditions"][c] for _, s in members]) for c in shared
            },
        }
    return groups


def write_comparison(
    runs: list[Run], groups: dict[str, Any], settings: dict[str, Any], folder: Path
) -> None:
    """Writes comparison.json and comparison.png."""
    folder.mkdir(parents=True, exist_ok=True)
    task = describe_task(runs[0])
    names = dict.fromkeys(c for group in groups.values() for c in group["conditions"])
    labels = {
        name: f"{name} ({len(group['seeds'])} seeds)" if len(group["seeds"]) > 1 else name
        for name, group in groups.items()
    }

    def parts(condition: str, key: str) -> dict[str, Any]:
        found = {labels[n]: g["conditions"].get(condition, {}).get(key) for n, g in groups.items()}
        return {label: part for label, part in found.items() if part is not None}

    note = f"{settings['episodes']} new episodes per condition and training seed; 95 % intervals"
    panels = {name: parts(name, "accuracy_by_trial") for name in names}
    trials = max((len(p) for lines in panels.values() for p in lines.values()), default=0)
    if trials > 1:
        figures.accuracy_by_trial(
            panels,
            task.chance,
            f"Learning inside an episode: {runs[0].environment}\n{note}",
            folder / "comparison.png",
        )
    else:
        key, measure = ("late_accuracy", "accuracy") if trials else ("return", "return")
        figures.scores(
            {
                labels[n]: {
                    c: (part[key], part[key]["by_run"]) for c, part in g["conditions"].items()
                }
                for n, g in groups.items()
            },
            measure,
            f"{measure.capitalize()} by condition: {runs[0].environment}\n{note}",
            folder / "comparison.png",
            task.chance if trials else None,
        )
    shared = {k: v for k, v in settings.items() if k in ("env", "episodes", "seeds", "versions")}
    shared["deterministic"] = settings["deterministic"]
    comparison = {"settings": shared, "policies": groups}
    write_text(folder / "comparison.json", json.dumps(comparison, indent=2) + "\n")


def table(groups: dict[str, Any]) -> str:
    """Plain text: a row for each policy and condition."""
    parts = [part for group in groups.values() for part in group["conditions"].values()]
    keys = ["return"]
    if any(part["late_accuracy"] is not None for part in parts):
        keys = ["late_accuracy", "return"]
    by_seed = any(len(group["seeds"]) > 1 for group in groups.values())
    rows = [["policy", "condition", *(key.replace("_", " ") for key in keys)]]
    if by_seed:
        rows[0].append(f"{rows[0][2]} by training seed")
    for name, group in groups.items():
        for condition, part in group["conditions"].items():
            row = [name, condition, *(_cell(part[key]) for key in keys)]
            if by_seed:
                values = zip(group["seeds"], part[keys[0]]["by_run"])
                row.append("  ".join(f"{seed}: {_number(value)}" for seed, value in values))
            rows.append(row)
            name = ""  # once per policy
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cell(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return ""
    low, high = summary["interval"]
    return f"{_number(summary['mean'])} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )
