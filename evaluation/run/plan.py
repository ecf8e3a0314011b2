"""Plans the jobs of an evaluation, has them run, and gathers what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Skipped
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.evaluation.run import store
from spikepropamine.evaluation.run.jobs import Job, Outcome, joined, waves, width_of
from spikepropamine.evaluation.run.observe import observed
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.run.workers import run_jobs
from spikepropamine.folder import RunFolder

TEACHER = "teacher"


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes:
        runs, task, conditions, seeds, deterministic, teacher: what was asked for.
        outcomes: for each run, by key of the condition; `run.jobs.run_job` says what.
        references: what policies are held against, by name and key of the condition: "random"
            actions and standing "still" in the clean condition; random actions and the "teacher"
            that is told the context where there are contexts.
        observations: for each run, what it saw in the first clean episode (`run.observe`).
        skipped: what does not apply.
    """

    runs: list[Run]
    task: Task
    conditions: list[Condition]
    seeds: range
    deterministic: bool
    teacher: Run | None
    outcomes: list[dict[str, Outcome]]
    references: dict[str, dict[str, Outcome]]
    observations: list[Any]
    skipped: list[Skipped]

    @property
    def trials(self) -> int:
        """Of the longest episode, 0 where there are none."""
        return max(o["correct"].shape[1] for x in self.outcomes for o in x.values())


@dataclass(frozen=True)
class _Part:
    """What is measured in one condition: of a run, by its index, or of a reference, by its name."""

    of: int | str
    run: Run | None
    condition: Condition

    @property
    def late(self) -> bool:
        """Whether it needs the neuromodulators' means, known once the clean episodes are over."""
        return self.condition.lesion is not None and self.condition.lesion.needs_means


def evaluate(
    runs: list[Run],
    task: Task,
    conditions: list[Condition],
    seeds: range,
    deterministic: bool,
    workers: int | None,
    versions: Mapping[str, str],
    progress: ProgressBar,
    teacher: Run | None = None,
) -> Evaluation:
    """Every run in every condition that applies to it, on the same seeds.

    The numbers do not depend on `workers`. What was measured before is read from `store.folder`.

    Args:
        runs: the policies.
        task: that they share.
        conditions: with the clean one.
        seeds: one episode each.
        deterministic: the likeliest actions, or sampled ones.
        workers: processes; None: as many as pay.
        versions: of the packages that the numbers depend on.
        progress: a bar.
        teacher: a policy that is told the context.
    """
    width = width_of(task)

    def jobs_of(part: _Part) -> list[tuple[Job, Path]]:
        """One for each wave, with its file."""
        run, found = part.run, []
        for wave in waves(seeds, width):
            job = Job(
                folder=None if run is None else RunFolder(run.folder).policy,
                digest="" if run is None else run.digest,
                previous=run is not None and run.previous,
                task=task,
                condition=part.condition,
                seeds=wave,
                width=width,
                # the measure of pace is one, whatever the policies do
                deterministic=deterministic or part.of == TEACHER,
                modulation=modulator_means(outcomes[part.of][CLEAN_KEY]) if part.late else None,
                revealed=None if run is None else run.revealed,
                told=part.of == TEACHER and run is not None and run.revealed is None,
                baseline=str(part.of) if run is None else "",
            )
            found.append((job, store.folder() / store.name_of(job, versions)))
        return found

    parts, skipped = _references(task, conditions, teacher), list[Skipped]()
    for index, run in enumerate(runs):
        kept, left_out = applicable(run, conditions)
        parts += [_Part(index, run, condition) for condition in kept]
        skipped += [entry for entry in left_out if entry not in skipped]
    outcomes: dict[str | int, dict[str, Outcome]] = {}
    for late in (False, True):
        due = [part for part in parts if part.late is late]
        plans = [jobs_of(part) for part in due]
        done = iter(run_jobs([job for jobs in plans for job in jobs], workers, progress))
        for part, jobs in zip(due, plans):
            measured = outcomes.setdefault(part.of, {})
            measured[part.condition.key] = joined([next(done) for _ in jobs])
    return Evaluation(
        runs,
        task,
        conditions,
        seeds,
        deterministic,
        teacher,
        [outcomes[index] for index in range(len(runs))],
        {name: found for name, found in outcomes.items() if isinstance(name, str)},
        [observed(run, task, seeds[0]) for run in runs],
        skipped,
    )


def _references(task: Task, conditions: Sequence[Condition], teacher: Run | None) -> list[_Part]:
    contexts = [c for c in conditions if c.lesion is None and c.has_contexts]
    parts = [_Part("random", None, condition) for condition in [CLEAN, *contexts]]
    if task.can_stand_still:
        parts.append(_Part("still", None, CLEAN))
    if teacher is not None:
        parts += [_Part(TEACHER, teacher, condition) for condition in contexts]
    return parts


def modulator_means(clean: Outcome) -> dict[str, np.ndarray]:
    """Mean of each neuromodulator over the steps of the clean episodes, by field, float32."""
    return {
        name.removeprefix("modulation/"): (total / clean["modulation/count"]).astype(np.float32)
        for name, total in clean.items()
        if name.startswith("modulation/") and name != "modulation/count"
    }
