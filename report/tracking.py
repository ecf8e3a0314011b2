"""An evaluation as a run in Weights & Biases: tables, curves, videos and all of its files."""

import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from spikepropamine.evaluation.schema import Score, Summary
from spikepropamine.folder import RunFolder
from spikepropamine.reading import read_json
from spikepropamine.tracking import On, policy_artifact, start, use

AXES = {
    "adaptation/retention/*": "severity",
    "adaptation/accuracy_by_trial/*": "trial",
    "adaptation/reward_rate/*": "episode_step",
    "adaptation/fast_weight_norm/*": "episode_step",
    "adaptation/modulator_mean/*": "episode_step",
    "adaptation/modulator_spread/*": "episode_step",
    "adaptation/firing_rate/*": "episode_step",
}


def track_evaluation(mode: On, folder: Path) -> None:
    """Logs an evaluation that is finished, as a run of its own whose files lie in `folder/wandb`.

    Args:
        mode: where it goes.
        folder: with the summary.json that `evaluation.schema` describes.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    import wandb

    summary = read_json(folder / "summary.json")
    settings, policies = summary["settings"], summary["policies"]
    run = start(
        mode,
        folder,
        AXES,
        ["evaluation", settings["env"], settings["suite"] or "perturb", *policies],
        name=f"evaluation of {', '.join(policies)} on {settings['env']}",
        group=settings["env"],
        job_type="evaluation",
        config=settings | {"policies": policies},
    )
    for policy in policies.values():
        for judged in policy["runs"]:
            use(run, policy_artifact(RunFolder(folder / judged)), mode)
    for row in curves(summary):
        run.log(row)
    columns, rows = results(summary)
    run.log({"adaptation/results": wandb.Table(columns=columns, data=rows)})
    columns, rows = lesions(summary)
    if rows:
        run.log({"adaptation/lesions": wandb.Table(columns=columns, data=rows)})
    videos = sorted((folder / "videos").glob("*.mp4"))
    if videos:
        some = [wandb.Video(str(video), caption=video.stem, format="mp4") for video in videos]
        run.log({"adaptation/videos": some})
    run.summary.update(scores(summary))
    name = f"evaluation-{settings['env']}".replace("/", "-")
    artifact = wandb.Artifact(name, type="evaluation", metadata=settings)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "wandb":
            artifact.add_dir(str(path), name=path.name)
        elif path.is_file():
            artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()
    if mode == "offline":
        runs = shlex.quote(f"{folder}/wandb")
        print(f"tracked offline; upload with: wandb sync {runs}/offline-run-*")


def curves(summary: Summary) -> list[dict[str, float]]:
    """Rows of the curves, one for each value of an axis: retention by severity, accuracy by trial,
    reward rate and what the network did by step of the episode.
    """
    rows: dict[tuple[str, float], dict[str, float]] = defaultdict(dict)
    for policy, parts in summary["severity"].items():
        for part in parts:
            name = part["label"] if part["lesion"] is None else f"{part['label']} {part['lesion']}"
            for severity, score in zip(part["severity"], part["retention"]):
                key = f"adaptation/retention/{policy}/{name}"
                rows["severity", severity][key] = score["mean"]
    for policy, found in summary["results"].items():
        for condition, result in found.items():
            for trial, score in enumerate(result["accuracy_by_trial"] or []):
                key = f"adaptation/accuracy_by_trial/{policy}/{condition}"
                rows["trial", trial][key] = score["mean"]
            if (curve := result["reward_rate"]) is not None:
                key = f"adaptation/reward_rate/{policy}/{condition}"
                for step, mean in zip(curve["step"], curve["mean"]):
                    rows["episode_step", step][key] = mean
    for policy, inside in summary["inside"].items():
        for condition, series in inside.items():
            for name in series.keys() - {"step"}:
                for step, value in zip(series["step"], series[name]):
                    rows["episode_step", step][f"adaptation/{name}/{policy}/{condition}"] = value
    # to wandb a dot in a name stands for nesting
    return [
        {axis: at} | {name.replace(".", "_"): value for name, value in row.items()}
        for (axis, at), row in sorted(rows.items())
    ]


def results(summary: Summary) -> tuple[list[Any], list[list[Any]]]:
    """Columns and rows of the table of results: one row for each policy and condition."""
    columns = [
        "policy", "condition", "perturbation", "severity", "split", "onset", "lesion",
        "return", "return_low", "return_high", "retention", "late_accuracy",
        "recovery_fraction", "recovery_time", "pace_of_teacher", "time_to_identify",
        "later_pace_of_teacher", "regained",
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for policy, found in summary["results"].items():
        for condition in summary["conditions"]:
            if condition["key"] not in found:
                continue
            result = found[condition["key"]]
            recovery, adaptation = result["recovery"], result["adaptation"]
            later = adaptation and adaptation["later"]
            rows.append(
                [
                    policy, condition["key"], condition["text"], condition["severity"],
                    condition["split"], condition["onset"], condition["lesion"],
                    result["return"]["mean"], *_edges(result["return"]),
                    _mean(result["retention"]), _mean(result["late_accuracy"]),
                    _mean(recovery and recovery["fraction"]),
                    _mean(recovery and recovery["time"]),
                    _mean(adaptation and adaptation["first"]["settled_pace"]),
                    _mean(adaptation and adaptation["first"]["time_to_identify"]),
                    _mean(later and later["settled_pace"]), _mean(later and later["regained"]),
                ]
            )  # fmt: skip
    return columns, rows


def lesions(summary: Summary) -> tuple[list[Any], list[list[Any]]]:
    """Columns and rows of the table of lesions: what each takes away, by policy and condition."""
    columns = [
        "policy", "lesion", "condition", "return_difference", "low", "high",
        "probability_of_improvement", "late_accuracy_difference",
    ]  # fmt: skip
    rows = [
        [
            policy, lesion, condition,
            part["paired_difference"]["mean"], *_edges(part["paired_difference"]),
            _mean(part["probability_of_improvement"]), _mean(part["late_accuracy_difference"]),
        ]
        for policy, by_lesion in summary["lesions"].items()
        for lesion, parts in by_lesion.items()
        for condition, part in parts.items()
    ]  # fmt: skip
    return columns, rows


def scores(summary: Summary) -> dict[str, float]:
    """Numbers for the table of runs: clean return, and mean retention by policy and split."""
    found = {}
    for policy, part in summary["policies"].items():
        found[f"adaptation/clean_return/{policy}"] = part["clean_return"]["mean"]
    for policy, by_lesion in summary["overall"].items():
        for lesion, splits in by_lesion.items():
            for split, score in splits.items():
                found[f"adaptation/mean_retention/{policy}/{lesion}/{split}"] = score["mean"]
    return found


def _edges(score: Score) -> list[float] | list[None]:
    return score["interval"] or [None, None]


def _mean(score: Score | None) -> float | None:
    return None if score is None else score["mean"]
