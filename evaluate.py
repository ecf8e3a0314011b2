"""Judges trained policies: `python evaluate.py runs/CueAssociation-v0/ndp-oja/seed-0`."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import envs  # noqa: F401  registers the environments
from evaluation import figures
from evaluation.conditions import (
    CONDITIONS,
    Condition,
    applicable,
    find_conditions,
    make_env,
    run_condition,
    spread_of,
    task_arguments,
)
from evaluation.episodes import Episode, Progress
from evaluation.recording import can_record, record_episode
from evaluation.statistics import summarize_episodes, summarize_runs
from policies.export import DeployedPolicy, load_policy
from training.run import versions
from training.settings import UsageError

FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class Run:
    """A trained policy, and what its checkpoint tells about its training."""

    folder: Path
    policy: DeployedPolicy
    name: str
    environment: str
    arguments: dict[str, Any]
    seed: int
    training_seeds: range
    steps: int
    conditions: list[Condition]

    @property
    def results(self) -> Path:
        """Where its evaluation goes."""
        return self.folder / "evaluations" / "standard"


@dataclass(frozen=True)
class Task:
    """What is known of the environment without running it."""

    horizon: int | None
    chance: float | None


class Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> Any:
        """As UsageError."""
        raise UsageError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    parser = Parser("evaluate.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--episodes", type=int, default=100, help="per condition, the same in each (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=FIRST_SEED, help="of the first episode (%(default)s)"
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=list(CONDITIONS),
        metavar="NAME",
        help=f"some of: {', '.join(CONDITIONS)} (all)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="draw actions instead of taking the likeliest"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where a comparison of the runs is written"
    )
    options = parser.parse_args(arguments)
    if options.episodes < 1:
        raise UsageError(f"--episodes must be at least 1, got {options.episodes}")
    if options.seed < 0:
        raise UsageError(f"--seed must be 0 or more, got {options.seed}")
    if options.out is not None and options.out.is_file():
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    return options


def load_runs(options: argparse.Namespace) -> list[Run]:
    """The runs of the command line, each checked to work in each of its conditions.

    Raises:
        UsageError: a run that is missing or does not work, or runs of different tasks.
    """
    try:
        conditions = find_conditions(options.conditions)
        folders = dict.fromkeys(folder.resolve() for folder in options.runs)
        given = {folder.resolve(): folder for folder in reversed(options.runs)}
        runs = [_load_run(given[folder], conditions) for folder in folders]
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    for run in runs:
        _check_seeds(run, options)
    clean = CONDITIONS["clean"]
    tasks = {
        f"{run.environment} {task_arguments(run.environment, run.arguments, clean)}" for run in runs
    }
    if len(tasks) > 1:
        raise UsageError(f"the runs are of different tasks: {'; '.join(sorted(tasks))}")
    return runs


def _load_run(folder: Path, conditions: list[Condition]) -> Run:
    if not folder.is_dir():
        raise ValueError(f"there is no run folder {folder}")
    policy = load_policy(folder / "policy")
    try:
        settings = policy.metadata["settings"]
        run = Run(
            folder=folder,
            policy=policy,
            name=settings["policy"],
            environment=settings["env"],
            arguments=settings["env_kwargs"],
            seed=settings["seed"],
            training_seeds=range(settings["seed"], settings["seed"] + settings["n_envs"]),
            steps=policy.metadata["steps"],
            conditions=applicable(policy, conditions),
        )
    except KeyError as error:
        raise ValueError(
            f"{folder / 'policy' / 'policy.json'} does not tell how the policy was trained: "
            f"{error} is missing"
        ) from error
    if not run.conditions:
        raise ValueError(f"{run.name} in {folder} has no plasticity that could be switched off")
    for condition in run.conditions:
        env = make_env(run.environment, run.arguments, condition, spread_of(policy))
        env.close()
        expected = policy.policy.observation_space.shape
        if env.observation_space.shape != expected:
            raise ValueError(
                f"the policy in {folder} expects observations of shape {expected}, "
                f"but {run.environment} has {env.observation_space.shape}"
            )
    return run


def _check_seeds(run: Run, options: argparse.Namespace) -> None:
    first, last = options.seed, options.seed + options.episodes - 1
    training = run.training_seeds
    if first < training.stop and last >= training.start:
        raise UsageError(
            f"seeds {first} to {last} overlap those that {run.folder} was trained with, "
            f"{training.start} to {training.stop - 1}; leave out --seed, or give a larger one"
        )


def describe_task(run: Run) -> Task:
    """What the environment says of itself."""
    env = make_env(run.environment, run.arguments, run.conditions[0], spread_of(run.policy))
    spec, plain = env.spec, env.unwrapped
    env.close()
    horizon = getattr(plain, "episode_steps", spec.max_episode_steps if spec else None)
    actions = env.action_space
    return Task(horizon, 1 / int(actions.n) if isinstance(actions, gym.spaces.Discrete) else None)


def evaluate(
    run: Run, seeds: Sequence[int], deterministic: bool, progress: Progress
) -> dict[str, list[Episode]]:
    """Episodes of a run by condition, on paired seeds."""
    return {
        condition.name: run_condition(
            run.policy,
            run.environment,
            run.arguments,
            condition,
            seeds,
            deterministic=deterministic,
            progress=progress,
        )
        for condition in run.conditions
    }


def summary_of(
    run: Run, episodes: dict[str, list[Episode]], options: argparse.Namespace
) -> dict[str, Any]:
    """What goes into summary.json."""
    return {
        "settings": {
            "env": run.environment,
            "env_kwargs": run.arguments,
            "policy": run.name,
            "training_seed": run.seed,
            "steps_trained": run.steps,
            "episodes": options.episodes,
            "seeds": [options.seed, options.seed + options.episodes - 1],
            "deterministic": not options.stochastic,
            "versions": versions(),
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


def run_all(options: argparse.Namespace) -> None:
    """Evaluates, writes and prints. Raises UsageError before anything is written."""
    runs = load_runs(options)
    seeds = range(options.seed, options.seed + options.episodes)
    total = sum(len(run.conditions) for run in runs) * len(seeds)
    progress = Progress(total, describe_task(runs[0]).horizon)
    summaries = []
    for run in runs:
        episodes = evaluate(run, seeds, not options.stochastic, progress)
        summaries.append(summary_of(run, episodes, options))
        write(run, episodes, summaries[-1])
    progress.close()
    groups = compare(runs, summaries)
    if options.out is not None:
        write_comparison(runs, groups, summaries[0]["settings"], options.out)
    several = any(len(group["seeds"]) > 1 for group in groups.values())
    print(f"{runs[0].environment}, {options.episodes} new episodes per condition, the same in each")
    over = "training seeds, or over episodes where there is one seed" if several else "episodes"
    print(f"mean [95 % interval over {over}]")
    print()
    print(table(groups))
    print()
    for run in runs:
        print(f"results are in {run.results}")
    if options.out is not None:
        print(f"the comparison is in {options.out}")


def main() -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    try:
        run_all(parse(sys.argv[1:]))
    except UsageError as error:
        print(f"evaluate.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; runs that were finished have their results", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
