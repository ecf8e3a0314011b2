"""`spikepropamine evaluate`: evaluates trained policies, and writes what people read of
it.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from spikepropamine.common import CLEAN_KEY, UsageError, require, run_command
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation import command
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, make_env
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.command import FILMED, parse, plan_of
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import telling
from spikepropamine.evaluation.run.plan import Evaluated, Plan
from spikepropamine.evaluation.run.watched import can_record, watch
from spikepropamine.evaluation.run.work import width_of
from spikepropamine.report.advice import advice_by_policy
from spikepropamine.report.columns import Column, cells_of
from spikepropamine.report.estimates import Estimate
from spikepropamine.report.evaluation import SPLITS, EvaluationResults
from spikepropamine.tracking import check_credentials
from spikepropamine.versions import import_modules

LONGEST_SEEN = 200
"""Steps of the episode that is looked into, since fast weights are large."""
MANY_CONDITIONS = 10
"""From so many on, a table has a line for each condition, and one measure."""
WHAT_PACE_IS = (
    "(pace: in steps 100 to 200 of a context, relative to the teacher that is told, 1, "
    "and to random actions, 0)"
)
NOTHING_KEPT = (
    "(no retention: no run earns significantly more than random actions and standing "
    "still)"
)


def run_all(options: argparse.Namespace) -> tuple[Path, bool]:
    """Evaluates, writes and prints.

    Args:
        options: of the command line.

    Returns:
        The folder of the results, and whether all videos could be made.

    Raises:
        UsageError: something is missing or wrong, before anything is written.
    """
    if options.video is not None:
        require("av", "films", "--video")
    import_modules(options.imports)
    # before MuJoCo is imported
    can_draw = options.video is None or choose_backend() is not None
    check_credentials(options.track)
    plan = plan_of(options)
    films = options.video is not None and _can_film(plan, can_draw)
    evaluated = command.measure(plan, options)
    filmed = _film(plan, options) if films else options.video is None
    results = EvaluationResults.read(plan.folder)
    report = _report(plan, evaluated, results)
    _say(results, options.episodes)
    _advise(advice_by_policy(plan.folder, results))
    print(f"results are in {plan.folder}\n{report}")
    if options.quick:
        print(
            "this is a first answer, of few episodes: the intervals say how sure it is"
        )
    if options.track != "off":
        from spikepropamine.report.tracking import track_evaluation  # and wandb

        track_evaluation(options.track, plan.folder)
    return plan.folder, filmed


def _report(plan: Plan, evaluated: Evaluated, results: EvaluationResults) -> str:
    """Writes the report and its pictures; says where it is, or what it needs."""
    try:
        require("vl_convert", "pages", "report.html")
    except UsageError as error:
        return f"no report: {error}"
    from spikepropamine.report.html import write_report  # and the plots

    for run in _firsts(plan):
        if can_record(run.policy):
            _look_into(evaluated, run)
    return f"the report is {write_report(plan.folder, results)}"


def _firsts(plan: Plan) -> list[Run]:
    """The first run of each policy."""
    firsts: dict[str, Run] = {}
    for run in plan.runs:
        firsts.setdefault(run.name, run)
    return list(firsts.values())


def _look_into(evaluated: Evaluated, run: Run) -> None:
    """Draws the first clean episode of a run, step by step."""
    from spikepropamine.report.pictures import episode

    task = evaluated.task
    seed = evaluated.seeds[0]
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        watched = watch(
            run.policy,
            env,
            seed,
            width=width_of(task),
            deterministic=evaluated.deterministic,
        )
        _, *moments = itertools.islice(watched, LONGEST_SEEN + 1)
    clean = evaluated.outcomes[evaluated.runs.index(run)][CLEAN_KEY]
    steps = f"{len(moments)} steps"
    if len(moments) < clean["length"][0]:
        steps = f"first {steps}"
    how = "" if evaluated.deterministic else ", sampled actions"
    title = f"Inside one episode: {run.name} on {task.environment}"
    subtitle = f"episode of seed {seed}, {steps}{how}"
    path = evaluated.folder / "figures" / f"episode-{run.name}.png"
    episode(moments, title, subtitle, path)


def _can_film(plan: Plan, can_draw: bool) -> bool:
    """Whether episodes of a task can be filmed, where MuJoCo can draw or cannot; says
    why where they cannot.
    """
    from spikepropamine.evaluation.film.video import check_drawing  # and the encoder

    run = plan.runs[0]

    def make(arguments: dict[str, Any]) -> gym.Env:
        arguments = dict(plan.task.arguments) | arguments
        task = replace(plan.task, arguments=arguments)
        return make_env(task, CLEAN, run.previous, run.revealed)

    try:
        if plan.task.simulated and not can_draw:
            raise CannotDraw(cannot_draw())
        check_drawing(make)
    except CannotDraw as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True


def _film(plan: Plan, options: argparse.Namespace) -> bool:
    """Films the first run of each policy in the conditions that are named; returns
    whether that could be done.
    """
    from spikepropamine.evaluation.film.video import film_run  # and the encoder

    lesions = []
    if options.video == "side-by-side":
        lesions = [FILMED[name] for name in options.lesions if name in FILMED]
        lesions = lesions or [FILMED["off"]]
    folder = plan.folder / "videos"
    try:
        for run, condition in itertools.product(_firsts(plan), _shown(plan, options)):
            film_run(
                run,
                plan.task,
                condition,
                options.seed,
                lesions,
                folder,
                plan.deterministic,
            )
    except CannotDraw as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True


def _shown(plan: Plan, options: argparse.Namespace) -> list[Condition]:
    """The conditions that are named, by key, label or text of their perturbations, or
    else the clean one.
    """
    named = {*options.perturb, *(options.conditions or ())}
    intact = [c for c in plan.conditions if c.lesion is None]
    shown = [c for c in intact if named.intersection((c.key, c.label, c.text))]
    return shown or intact[:1]


def _say(results: EvaluationResults, episodes: int) -> None:
    """Prints the results."""
    description = results.description
    print(
        f"{description.environment}, {episodes} new episodes per condition, the same "
        "in each"
    )
    if not description.own_limit:
        print(
            "the task has no time limit: episodes are cut after "
            f"{description.horizon} steps"
        )
    print(
        "mean [95 % interval over training runs, or over the episodes of a single one]"
        "\n"
    )
    print(tables(results), end="\n\n")
    for skipped in description.skipped:
        whom = "" if skipped.policy is None else f" for {skipped.policy}"
        print(f"left out: {skipped.condition}{whom}: {skipped.reason}")


def _advise(sentences: Mapping[str, Sequence[str]]) -> None:
    """Prints what to try with policies that have not learned."""
    for policy, some in sentences.items():
        print(f"{policy} has not learned{': what to try' if some else ''}")
        for sentence in some:
            print(f"- {sentence}")
    if sentences:
        print()


def tables(results: EvaluationResults) -> str:
    """Plain text: every policy in every condition; and, where there are many, the
    policies.
    """
    measures = _measures(results)
    perturbs = any(c.perturbs for c in results.conditions.values())
    legends = []
    if any(measure.of_contexts for measure in measures):
        legends.append(WHAT_PACE_IS)
    if [measure.name for measure in measures] == ["return"] and perturbs:
        legends.append(NOTHING_KEPT)
    if len(results.conditions) <= MANY_CONDITIONS:
        return "\n".join([_by_policy(results, measures), *legends])
    # where nothing was learned, there is nothing to be kept
    measure = next((m for m in measures if m.name != "return"), measures[0])
    legends = legends or [f"({measure.label})"]
    by_condition = "\n".join([_by_condition(results, measure), *legends])
    return f"{by_condition}\n\n{_overall(results)}"


def _measures(results: EvaluationResults) -> list[Measure[Any]]:
    """What a row of results has; measures without values are left out."""
    measures = []
    for measure in telling():
        if any(
            results.measured(policy, condition.key, measure.name)
            for policy in results.policies
            for condition in results.conditions_of(policy)
        ):
            measures.append(measure)
    if any(measure.name == "late_accuracy" for measure in measures):
        return [m for m in measures if m.name in ("late_accuracy", "return")]
    return measures


def _by_policy(results: EvaluationResults, measures: Sequence[Measure[Any]]) -> str:
    """A row for each policy and condition, a column for each measure."""
    rows = [["policy", "condition", *(measure.label for measure in measures)]]
    for policy in results.policies:
        name = policy
        for condition in results.conditions_of(policy):
            cells = [
                _cell(results.measured(policy, condition.key, measure.name))
                for measure in measures
            ]
            rows.append([name, condition.key, *cells])
            name = ""  # it is said once
    return _aligned(rows)


def _by_condition(results: EvaluationResults, measure: Measure[Any]) -> str:
    """A row for each condition, a column for each policy."""

    def of_policy(policy: str) -> Column[Condition]:
        conditions = results.conditions_of(policy)

        def cell(condition: Condition) -> str:
            if condition not in conditions:
                return ""
            return _cell(results.measured(policy, condition.key, measure.name))

        return Column(policy, cell)

    columns: list[Column[Condition]] = [
        Column("condition", lambda condition: condition.key),
        *map(of_policy, results.policies),
    ]
    rows = [[column.title for column in columns]]
    rows += [cells_of(columns, c) for c in results.conditions.values()]
    return _aligned(rows)


def _overall(results: EvaluationResults) -> str:
    """A row for each policy, with each lesion and without: what it keeps."""
    rows = [["policy", "lesion", "return", *(f"retention, {x}" for x in SPLITS)]]
    for policy in results.policies:
        for condition in results.conditions_of(policy):
            if condition.perturbs:
                continue
            lesion = condition.lesion
            returns = _cell(results.returns(policy, condition.key))
            kept = [_cell(results.overall(policy, lesion, split)) for split in SPLITS]
            rows.append([policy, lesion or "", returns, *kept])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text; the first row heads it."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(score: Estimate | None) -> str:
    return "-" if score is None else score.text()


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line.

    Args:
        arguments: its words.
        program: its name, for messages.

    Returns:
        The exit code: 1 where a video could not be made.
    """
    torch.set_num_threads(1)

    def run() -> int:
        _, filmed = run_all(parse(arguments, program))
        return 0 if filmed else 1

    return run_command(
        program, run, "interrupted; the same command goes on where this one was"
    )
