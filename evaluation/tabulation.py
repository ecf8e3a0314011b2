"""What an evaluation measured, as rows of the results table (`spikepropamine.table`).

`evaluation.measures` says what there is. In contexts, random actions and a teacher that
is told stand in the place of a policy.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.judge.rewards import Stretch, stretches_of
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import OF_ACTING, measure_named
from spikepropamine.evaluation.observed import FIRST, LATER, Acted, Outcomes, Trained
from spikepropamine.evaluation.of_acting import OF_BASELINES
from spikepropamine.evaluation.of_runs import OF_RUNS
from spikepropamine.evaluation.run import work
from spikepropamine.evaluation.run.plan import Evaluated
from spikepropamine.evaluation.run.work import Outcome
from spikepropamine.table import table

RANDOM = "random actions"
TOLD = "teacher, told"
"""Stand in the place of a policy in contexts, and have no seed."""

Row = dict[str, Any]  # by column of the results table


def rows_of(evaluated: Evaluated, suite: str) -> pl.DataFrame:
    """The results table of an evaluation.

    Args:
        evaluated: its plan, and the episodes that were run.
        suite: name of its conditions, and of how they were run.

    Returns:
        The rows: of runs, of baselines, and of each actor in each condition.
    """
    actors: list[tuple[Row, Outcomes]] = []
    rows: list[Row] = []
    for run, of_conditions in zip(evaluated.runs, evaluated.outcomes):
        of_run: Row = {
            "environment": run.environment,
            "policy": run.name,
            "seed": run.seed,
            "steps": run.steps,
            "revision": run.policy.metadata.get("versions", {}).get("revision"),
        }
        actors.append((of_run, of_conditions))
        trained = Trained(run, evaluated.task, evaluated.seeds[0])
        facts = [row for m in OF_RUNS for row in _rows(m, trained)]
        facts.sort(key=lambda row: row["at"] is not None)  # curves follow
        rows += [of_run | row for row in facts]
    for of_run, _ in actors:
        for baseline, measure in OF_BASELINES.items():
            if baseline in evaluated.references:
                clean = evaluated.references[baseline][CLEAN_KEY]
                rows += [
                    of_run | {"suite": suite} | row for row in _rows(measure, clean)
                ]
    for key, name in ((work.RANDOM, RANDOM), (work.TEACHER, TOLD)):
        if key in evaluated.references:
            of_actor = {"environment": evaluated.task.environment, "policy": name}
            actors.append((of_actor, evaluated.references[key]))
    for condition in evaluated.conditions:
        of_condition = {
            "suite": suite,
            "condition": condition.key,
            "lesion": condition.lesion,
            "severity": condition.severity,
            "split": condition.split,
        }
        stretches = contexts_of(evaluated, condition)
        for of_actor, outcomes in actors:
            if condition.key not in outcomes:
                continue
            if of_actor["policy"] == RANDOM and not stretches:
                continue
            check_series(outcomes[condition.key])
            acted = Acted(
                evaluated.task,
                condition,
                evaluated.conditions,
                outcomes,
                evaluated.references,
                stretches,
            )
            rows += [
                of_actor | of_condition | row
                for measure in OF_ACTING
                for row in _rows(measure, acted)
            ]
    return table(rows)


def _rows(measure: Measure[Any], source: object) -> Iterator[Row]:
    assert measure.rows is not None
    for number in measure.rows(source):
        yield {"measure": measure.name} | number._asdict()


def check_series(outcome: Outcome) -> None:
    """Raises UsageError where there is a series of the inside of a network that is no
    measure.
    """
    for name in outcome:
        if name.startswith("inside/") and name != "inside/count":
            measure_named(name.removeprefix("inside/"))


def contexts_of(
    evaluated: Evaluated, condition: Condition
) -> Mapping[str, Sequence[Stretch]]:
    """The stretches of one context in the episodes of a condition.

    Contexts do not depend on what is done in them. Those of a perturbation come from
    its schedule, to the horizon; those of a task of its own are known as far as any
    policy got.

    Args:
        evaluated: all outcomes of an evaluation.
        condition: whose contexts.

    Returns:
        By `FIRST` and `LATER`, where there are any; empty where the condition has no
        contexts.
    """
    if not condition.has_contexts:
        return {}
    alike = {c.key for c in evaluated.conditions if c.intact == condition.intact}
    began: list[set[int]] = [set() for _ in evaluated.seeds]
    for outcomes in (*evaluated.outcomes, *evaluated.references.values()):
        for key in alike & outcomes.keys():
            for steps, known in zip(outcomes[key]["began"], began):
                known.update(int(step) for step in steps if step >= 0)
    starts = [sorted(steps) for steps in began]
    first, later = stretches_of(starts, evaluated.task.horizon)
    by_prefix = {FIRST: first, LATER: later}
    return {prefix: some for prefix, some in by_prefix.items() if some}
