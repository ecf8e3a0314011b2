"""Plans the jobs of an evaluation, has them run, and gathers what came of them."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Skipped, Task, make_env
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.film.recording import observed
from spikepropamine.evaluation.run.jobs import Job, Outcome, joined, waves, width_of
from spikepropamine.evaluation.run.workers import run_jobs
from spikepropamine.folder import RunFolder

TEACHER = "teacher"


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for, found and checked.

    Attributes:
        runs: trained policies.
        task: of all of them.
        conditions: the clean one among them.
        teacher: a policy that is told the contexts of the conditions; None: there is none.
        seeds: of the episodes, the same in each condition.
        deterministic: the likeliest actions, or sampled ones.
        skipped: what does not apply.
        folder: for the results.
    """

    runs: list[Run]
    task: Task
    conditions: list[Condition]
    teacher: Run | None
    seeds: range
    deterministic: bool
    skipped: list[Skipped]
    folder: Path


@dataclass(frozen=True)
class Evaluation(Asked):
    """All that was measured.

    Attributes:
        outcomes: for each run, by key of the condition; `run.jobs.run_job` says what.
        references: what policies are held against, by name and key of the condition: "random"
            actions and standing "still" in the clean condition; random actions and the "teacher"
            that is told the context where there are contexts.
        observations: for each run, what it saw in the first clean episode.
    """

    outcomes: list[dict[str, Outcome]]
    references: dict[str, dict[str, Outcome]]
    observations: list[Any]

    @property
    def trials(self) -> int:
        """Of the longest episode, 0 where there are none."""
        return max(o["correct"].shape[1] for x in self.outcomes for o in x.values())


def evaluate(asked: Asked, workers: int | None, versions: Mapping[str, str]) -> Evaluation:
    """Every run in every condition that applies to it: an episode for each seed.

    The numbers do not depend on `workers` (processes; None: as many as pay), but on the `versions`
    of the packages.
    """
    runs, task, teacher = asked.runs, asked.task, asked.teacher

    def jobs_of(of: int | str, condition: Condition) -> list[Job]:
        """One for each wave."""
        run = runs[of] if isinstance(of, int) else teacher if of == TEACHER else None
        width = width_of(task)
        job = Job(
            folder=None if run is None else RunFolder(run.folder).policy,
            previous=run is not None and run.previous,
            task=task,
            condition=condition,
            seeds=(),
            width=width,
            # the measure of pace is one, whatever the policies do
            deterministic=asked.deterministic or of == TEACHER,
            revealed=None if run is None else run.revealed,
            told=of == TEACHER and run is not None and run.revealed is None,
            baseline=str(of) if run is None else "",
        )
        return [replace(job, seeds=wave) for wave in waves(asked.seeds, width)]

    contexts = [c for c in asked.conditions if c.lesion is None and c.has_contexts]
    # by index of a run, or name of a reference
    parts: list[tuple[int | str, Condition]] = [("random", c) for c in (CLEAN, *contexts)]
    parts += [("still", CLEAN)] if task.can_stand_still else []
    parts += [(TEACHER, c) for c in contexts] if teacher is not None else []
    skipped = list(asked.skipped)
    for index, run in enumerate(runs):
        kept, left_out = applicable(run, asked.conditions)
        parts += [(index, condition) for condition in kept]
        skipped += [entry for entry in left_out if entry not in skipped]
    plans = [jobs_of(of, condition) for of, condition in parts]
    done = iter(run_jobs([job for jobs in plans for job in jobs], workers, versions))
    outcomes: dict[int | str, dict[str, Outcome]] = {}
    for (of, condition), jobs in zip(parts, plans):
        outcomes.setdefault(of, {})[condition.key] = joined([next(done) for _ in jobs])
    observations = []
    for run in runs:
        with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
            observations.append(observed(run.policy, env, asked.seeds[0]))
    return Evaluation(
        **vars(asked) | {"skipped": skipped},
        outcomes=[outcomes[index] for index in range(len(runs))],
        references={name: found for name, found in outcomes.items() if isinstance(name, str)},
        observations=observations,
    )
