"""Plans the jobs of an evaluation, has them run, and gathers what came of them."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Skipped, make_env
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.evaluation.film.recording import observed
from spikepropamine.evaluation.run import store
from spikepropamine.evaluation.run.jobs import Job, Outcome, joined, waves, width_of
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
        observations: for each run, what it saw in the first clean episode.
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
    """Every run in every condition that applies to it, the clean one among them: an episode for
    each seed.

    The numbers do not depend on `workers` (processes; None: as many as pay), but on the `versions`
    of the packages. What was measured before is read from `store.folder`.
    """
    width = width_of(task)
    outcomes: dict[int | str, dict[str, Outcome]] = {}  # by index of a run, or name of a reference

    def needs_means(condition: Condition) -> bool:
        return condition.lesion is not None and condition.lesion.needs_means

    def jobs_of(of: int | str, condition: Condition) -> list[tuple[Job, Path]]:
        """One for each wave, with its file."""
        run = runs[of] if isinstance(of, int) else teacher if of == TEACHER else None
        job = Job(
            folder=None if run is None else RunFolder(run.folder).policy,
            digest="" if run is None else run.digest,
            previous=run is not None and run.previous,
            task=task,
            condition=condition,
            seeds=(),
            width=width,
            # the measure of pace is one, whatever the policies do
            deterministic=deterministic or of == TEACHER,
            modulation=modulator_means(outcomes[of][CLEAN_KEY]) if needs_means(condition) else None,
            revealed=None if run is None else run.revealed,
            told=of == TEACHER and run is not None and run.revealed is None,
            baseline=str(of) if run is None else "",
        )
        found = [replace(job, seeds=wave) for wave in waves(seeds, width)]
        return [(job, store.folder() / store.name_of(job, versions)) for job in found]

    contexts = [c for c in conditions if c.lesion is None and c.has_contexts]
    parts: list[tuple[int | str, Condition]] = [("random", c) for c in (CLEAN, *contexts)]
    parts += [("still", CLEAN)] if task.can_stand_still else []
    parts += [(TEACHER, c) for c in contexts] if teacher is not None else []
    skipped = list[Skipped]()
    for index, run in enumerate(runs):
        kept, left_out = applicable(run, conditions)
        parts += [(index, condition) for condition in kept]
        skipped += [entry for entry in left_out if entry not in skipped]
    for late in (False, True):  # what needs means of neuromodulators, once the clean ones are over
        due = [(of, condition) for of, condition in parts if needs_means(condition) is late]
        plans = [jobs_of(of, condition) for of, condition in due]
        done = iter(run_jobs([job for jobs in plans for job in jobs], workers, progress))
        for (of, condition), jobs in zip(due, plans):
            outcomes.setdefault(of, {})[condition.key] = joined([next(done) for _ in jobs])
    observations = []
    for run in runs:
        with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
            observations.append(observed(run.policy, env, seeds[0]))
    return Evaluation(
        runs,
        task,
        conditions,
        seeds,
        deterministic,
        teacher,
        [outcomes[index] for index in range(len(runs))],
        {name: found for name, found in outcomes.items() if isinstance(name, str)},
        observations,
        skipped,
    )


def modulator_means(clean: Outcome) -> dict[str, np.ndarray]:
    """Mean of each neuromodulator over the steps of the clean episodes, by field, float32."""
    return {
        name.removeprefix("modulation/"): (total / clean["modulation/count"]).astype(np.float32)
        for name, total in clean.items()
        if name.startswith("modulation/") and name != "modulation/count"
    }
