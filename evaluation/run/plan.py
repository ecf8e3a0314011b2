"""What an evaluation is to run, and what came of it: every actor in its conditions."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Skipped, Task
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.run import episodes, work
from spikepropamine.evaluation.run.jobs import run_jobs
from spikepropamine.evaluation.run.work import RANDOM, STILL, TEACHER, Job, Outcome
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, read and checked."""

    runs: list[Run]  # trained policies of one task
    task: Task
    conditions: list[Condition]  # the clean one among them
    teacher: Run | None  # a policy that is told the contexts; None: there is none
    seeds: range  # of the episodes, the same in each condition
    deterministic: bool  # the likeliest actions, or sampled ones
    skipped: list[Skipped]  # what does not apply
    folder: Path  # for the results


@dataclass(frozen=True)
class Evaluated(Plan):
    """A plan, and what came of its episodes."""

    # for each run, by key of the condition; `run.work.run_job` says what
    outcomes: list[dict[str, Outcome]]
    # by name and key of the condition: `RANDOM` actions and standing `STILL` in the
    # clean condition; random actions and the `TEACHER` where there are contexts
    references: dict[str, dict[str, Outcome]]


@dataclass(frozen=True)
class Part:
    """One actor in one condition."""

    actor: int | str  # index of a run, or `RANDOM`, `STILL` or `TEACHER`
    condition: Condition


def evaluate(plan: Plan, workers: int | None, versions: Mapping[str, str]) -> Evaluated:
    """Every run in every condition that applies to it: an episode for each seed.

    Args:
        plan: what is to be run.
        workers: processes, on which the numbers do not depend; None: as many as pay.
        versions: of the packages, on which they do.

    Returns:
        The plan with its outcomes.

    Raises:
        UsageError: a run has a new policy since the plan was made, or a worker was
            killed.
    """
    parts = list(_references(plan))
    skipped = list(plan.skipped)
    for index, run in enumerate(plan.runs):
        applying, left_out = applicable(run, plan.conditions)
        parts += [Part(index, condition) for condition in applying]
        skipped += [entry for entry in left_out if entry not in skipped]
    jobs = [_jobs_of(plan, part) for part in parts]
    done = iter(_with_copies(plan.runs, [job for of in jobs for job in of],
                             workers, versions))  # fmt: skip
    outcomes: dict[int | str, dict[str, Outcome]] = {}
    for part, of_part in zip(parts, jobs):
        waves = [next(done) for _ in of_part]
        by_condition = outcomes.setdefault(part.actor, {})
        by_condition[part.condition.key] = work.joined(waves)
    return Evaluated(
        **vars(plan) | {"skipped": skipped},
        outcomes=[outcomes[index] for index in range(len(plan.runs))],
        references={
            actor: of_actor
            for actor, of_actor in outcomes.items()
            if isinstance(actor, str)
        },
    )


def _references(plan: Plan) -> Iterator[Part]:
    """What policies are held against."""
    contexts = [c for c in plan.conditions if c.lesion is None and c.has_contexts]
    for condition in (CLEAN, *contexts):
        yield Part(RANDOM, condition)
    if plan.task.can_stand_still:
        yield Part(STILL, CLEAN)
    if plan.teacher is not None:
        for condition in contexts:
            yield Part(TEACHER, condition)


def _jobs_of(plan: Plan, part: Part) -> list[Job]:
    """A job for each wave of episodes."""
    width = work.width_of(plan.task)
    waves = episodes.waves(plan.seeds, width)
    teaches = part.actor == TEACHER
    run = plan.runs[part.actor] if isinstance(part.actor, int) else None
    if teaches:
        run = plan.teacher
    plain = Job(
        folder=None,
        previous=False,
        task=plan.task,
        condition=part.condition,
        seeds=(),
        width=width,
        # the measure of pace is one, whatever the policies do
        deterministic=plan.deterministic or teaches,
    )
    if run is None:
        job = replace(plain, baseline=str(part.actor))
    else:
        job = replace(
            plain,
            folder=RunFolder(run.folder).policy,
            previous=run.previous,
            revealed=run.revealed,
            told=teaches and run.revealed is None,
        )
    return [replace(job, seeds=wave) for wave in waves]


def _with_copies(
    runs: Sequence[Run],
    jobs: Sequence[Job],
    workers: int | None,
    versions: Mapping[str, str],
) -> list[Outcome]:
    """Runs the jobs on copies of the policies, since a training may replace its own."""
    with TemporaryDirectory() as place:
        copies: dict[Path | None, Path | None] = {None: None}
        for job in jobs:
            if job.folder is not None and job.folder not in copies:
                name = str(len(copies))
                copies[job.folder] = shutil.copytree(job.folder, Path(place) / name)
        for run in runs:
            copied = copies[RunFolder(run.folder).policy]
            assert copied is not None
            if load_policy(copied).metadata["steps"] != run.steps:
                raise UsageError(
                    f"{run.folder} has a new policy by now: evaluate it again"
                )
        copied_jobs = [replace(job, folder=copies[job.folder]) for job in jobs]
        return run_jobs(copied_jobs, workers, versions)
