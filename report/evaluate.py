"""`spikepropamine evaluate`: evaluates trained policies, and writes what people read of it."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from spikepropamine.common import CLEAN_KEY, run_command
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.command import FILMED, ask, measure, parse
from spikepropamine.evaluation.run.episodes import can_record, watch
from spikepropamine.evaluation.run.plan import Asked
from spikepropamine.report.evaluation import SPLITS, Estimate, Evaluation
from spikepropamine.tracking import check_credentials
from spikepropamine.versions import import_modules

LONGEST_SEEN = (
    200  # steps of the episode that is looked into, since fast weights are large
)
MANY_CONDITIONS = (
    10  # from so many on, a table has a line for each condition, and one measure
)

PACE = "pace"
WHAT_PACE_IS = (
    "(pace: in steps 100 to 200 of a context, relative to the teacher that is told, 1, and to "
    "random actions, 0)"
)
NOTHING_KEPT = "(no retention: no run earns significantly more than random actions and standing still)"


def run_all(options: argparse.Namespace) -> tuple[Path, bool]:
    """Evaluates, writes and prints; returns the folder, and whether all videos could be made.

    Raises UsageError before anything is written.
    """
    import_modules(options.imports)
    can_draw = (
        options.video is None or choose_backend() is not None
    )  # before MuJoCo is imported
    check_credentials(options.track)
    asked = ask(options)
    filming = options.video is not None and (can_draw or not asked.task.simulated)
    if options.video is not None and not filming:
        print(f"no video: {cannot_draw()}", file=sys.stderr)
    measured = measure(asked, options)
    from spikepropamine.report.html import write_report  # and the plots
    from spikepropamine.report.pictures import episode

    for run in _firsts(measured):
        if can_record(run.policy):
            with closing(
                make_env(measured.task, CLEAN, run.previous, run.revealed)
            ) as env:
                every = watch(run.policy, env, measured.seeds[0])
                _, *moments = itertools.islice(every, LONGEST_SEEN + 1)
            steps, clean = len(moments), measured.outcomes[measured.runs.index(run)]
            whole = steps == clean[CLEAN_KEY]["length"][0] or not measured.deterministic
            title = (
                f"Inside one episode: {run.name} on {measured.task.environment}\n"
                f"episode of seed {measured.seeds[0]}, {'' if whole else 'first '}{steps} steps"
                f"{'' if measured.deterministic else ', deterministic actions'}"
            )
            episode(
                moments, title, asked.folder / "figures" / f"episode-{run.name}.png"
            )
    filmed = film_asked(asked, options) if filming else options.video is None
    found = Evaluation.read(asked.folder)
    report = write_report(asked.folder, found)
    _say(found, options.episodes)
    print(f"results are in {asked.folder}\nthe report is {report}")
    if options.quick:
        print(
            "this is a first answer, of few episodes: the intervals say how sure it is"
        )
    if options.track != "off":
        from spikepropamine.report.tracking import track_evaluation  # and wandb

        track_evaluation(options.track, asked.folder)
    return asked.folder, filmed


def _firsts(asked: Asked) -> list[Run]:
    """The first run of each policy."""
    return list({run.name: run for run in reversed(asked.runs)}.values())


def film_asked(asked: Asked, options: argparse.Namespace) -> bool:
    """Films the first run of each policy in the conditions that are named, by key, label or text of
    their perturbations, or else in the clean one; returns whether that could be done.
    """
    from spikepropamine.evaluation.film.video import film_run  # and the encoder

    named = {*options.perturb, *(options.conditions or ())}
    intact = [c for c in asked.conditions if c.lesion is None]
    shown = [c for c in intact if {c.key, c.label, c.text} & named] or intact[:1]
    sides = [FILMED[name] for name in options.lesions if name in FILMED] or [
        FILMED["off"]
    ]
    lesions = sides if options.video == "side-by-side" else []
    try:
        for run, condition in itertools.product(_firsts(asked), shown):
            film_run(
                run,
                asked.task,
                condition,
                options.seed,
                lesions,
                asked.folder / "videos",
            )
    except CannotDraw as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True


def _say(found: Evaluation, episodes: int) -> None:
    """Prints what was found."""
    asked = found.asked
    print(
        f"{asked['environment']}, {episodes} new episodes per condition, the same in each"
    )
    if not asked["own_limit"]:
        print(
            f"the task has no time limit: episodes are cut after {asked['horizon']} steps"
        )
    over = "training runs, or over the episodes of a single one"
    print(f"mean [95 % interval over {over}; ? where it is not known]\n")
    print(tables(found), end="\n\n")
    for entry in asked["skipped"]:
        whom = "" if entry["policy"] is None else f" for {entry['policy']}"
        print(f"left out: {entry['condition']}{whom}: {entry['reason']}")


def tables(found: Evaluation) -> str:
    """Plain text: every policy in every condition; and, where there are many, the policies."""
    measures = _measures(found)
    legend = f"\n{WHAT_PACE_IS}" if PACE in measures else ""
    if measures == ["return"] and any(c.perturbs for c in found.conditions.values()):
        legend += f"\n{NOTHING_KEPT}"
    if len(found.conditions) <= MANY_CONDITIONS:
        rows = [["policy", "condition", *measures]]
        for policy in found.policies:
            for i, c in enumerate(
                found.conditions_of(policy)
            ):  # the policy's name once
                cells = [
                    _cell(found.measured(policy, c.key, name)) for name in measures
                ]
                rows.append(["" if i else policy, c.key, *cells])
        return _aligned(rows) + legend
    # where nothing was learned, there is nothing to be kept
    asked = next((name for name in measures if name != "return"), "return")
    by_condition = [["condition", *found.policies]]
    for c in found.conditions.values():
        cells = [_cell(found.measured(p, c.key, asked)) if c in found.conditions_of(p) else ""
                 for p in found.policies]  # fmt: skip
        by_condition.append([c.key, *cells])
    rows = [
        ["policy", "lesion", "return", *(f"retention, {split}" for split in SPLITS)]
    ]
    for policy in found.policies:
        for c in found.conditions_of(policy):
            if not c.perturbs:
                kept = [
                    _cell(found.overall(policy, c.lesion, split)) for split in SPLITS
                ]
                rows.append(
                    [policy, c.lesion or "", _cell(found.returns(policy, c.key)), *kept]
                )
    legend = legend or f"\n({asked})"
    return f"{_aligned(by_condition)}{legend}\n\n{_aligned(rows)}"


def _measures(found: Evaluation) -> list[str]:
    """Names of what a row of results has; columns without values are left out."""
    where = [
        (policy, c.key)
        for policy in found.policies
        for c in found.conditions_of(policy)
    ]
    every = ("late accuracy", PACE, "return", "retention")
    there = [
        name for name in every if any(found.measured(*place, name) for place in where)
    ]
    return ["late accuracy", "return"] if "late accuracy" in there else there


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cell(score: Estimate | None) -> str:
    return "-" if score is None else score.text()


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    return run_command(
        program,
        lambda: 0 if run_all(parse(arguments, program))[1] else 1,
        "interrupted; the same command goes on where this one was",
    )
