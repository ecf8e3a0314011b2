"""Plans the jobs of an evaluation, has them run, and gathers what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.evaluation.ask.conditions import CLEAN, Condition
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.evaluation.run import store
from spikepropamine.evaluation.run.jobs import Job, Outcome, joined, waves, width_of
from spikepropamine.evaluation.run.observe import observed
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.run.workers import run_jobs
from spikepropamine.evaluation.schema import CLEAN_KEY, Skipped
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
    """What is measured of one run, or of a reference, in one condition."""

    run: Run | None
    condition: Condition
    reference: str = ""


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

    def jobs_of(
        part: _Part, modulation: Mapping[str, np.ndarray] | None = None
    ) -> list[tuple[Job, Path]]:
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
                deterministic=deterministic or part.reference == TEACHER,
                modulation=modulation,
                revealed=None if run is None else run.revealed,
                told=part.reference == TEACHER and run is not None and run.revealed is None,
                baseline="" if run is not None else part.reference,
            )
            found.append((job, store.folder() / store.name_of(job, versions)))
        return found

    def measure(plans: Sequence[list[tuple[Job, Path]]]) -> list[Outcome]:
        done = iter(run_jobs([job for parts in plans for job in parts], workers, progress))
        return [joined([next(done) for _ in parts]) for parts in plans]

    chosen, skipped = [], list[Skipped]()
    for run in runs:
        kept, left_out = applicable(run, conditions)
        chosen.append(kept)
        skipped += [entry for entry in left_out if entry not in skipped]
    every = [(i, c) for i in range(len(runs)) for c in chosen[i]]
    # the means of the neuromodulators are known only once the clean episodes are over
    later = [(i, c) for i, c in every if c.lesion is not None and c.lesion.needs_means]
    now = [entry for entry in every if entry not in later]
    parts = [*_references(task, conditions, teacher), *[_Part(runs[i], c) for i, c in now]]
    measured = measure([jobs_of(part) for part in parts])
    references: dict[str, dict[str, Outcome]] = {}
    for part, outcome in zip(parts, measured):
        if part.reference:
            references.setdefault(part.reference, {})[part.condition.key] = outcome
    outcomes: list[dict[str, Outcome]] = [{} for _ in runs]
    for (i, condition), outcome in zip(now, measured[-len(now) :]):
        outcomes[i][condition.key] = outcome
    if later:
        means = [modulator_means(outcome[CLEAN_KEY]) for outcome in outcomes]
        plans = [jobs_of(_Part(runs[i], condition), means[i]) for i, condition in later]
        for (i, condition), outcome in zip(later, measure(plans)):
            outcomes[i][condition.key] = outcome
    observations = [observed(run, task, seeds[0]) for run in runs]
    return Evaluation(
        runs,
        task,
        conditions,
        seeds,
        deterministic,
        teacher,
        outcomes,
        references,
        observations,
        skipped,
    )


def _references(task: Task, conditions: Sequence[Condition], teacher: Run | None) -> list[_Part]:
    contexts = [c for c in conditions if c.lesion is None and c.has_contexts]
    parts = [_Part(None, condition, "random") for condition in [CLEAN, *contexts]]
    if task.can_stand_still:
        parts.append(_Part(None, CLEAN, "still"))
    if teacher is not None:
        parts += [_Part(teacher, condition, TEACHER) for condition in contexts]
    return parts


def modulator_means(clean: Outcome) -> dict[str, np.ndarray]:
    """Mean of each neuromodulator over the steps of the clean episodes, by field, float32."""
    return {
        name.removeprefix("modulation/"): (total / clean["modulation/count"]).astype(np.float32)
        for name, total in clean.items()
        if name.startswith("modulation/") and name != "modulation/count"
    }
