"""Plans the jobs of an evaluation, has them run, and gathers what came of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikepropamine.evaluation.conditions import CLEAN, NOMINAL, Condition, Task
from spikepropamine.evaluation.episodes import Progress
from spikepropamine.evaluation.jobs import Job, Outcome, joined, waves, width_of
from spikepropamine.evaluation.runs import Run, applicable
from spikepropamine.evaluation.summary import Skipped
from spikepropamine.evaluation.workers import run_jobs


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes:
        runs, task, conditions, seeds, deterministic: what was asked for.
        outcomes: for each run, by key of the condition; `evaluation.jobs.run_job` says what.
        random: of random actions in the nominal condition.
        skipped: what does not apply.
    """

    runs: list[Run]
    task: Task
    conditions: list[Condition]
    seeds: range
    deterministic: bool
    outcomes: list[dict[str, Outcome]]
    random: Outcome
    skipped: list[Skipped]


def evaluate(
    runs: list[Run],
    task: Task,
    conditions: list[Condition],
    seeds: range,
    deterministic: bool,
    workers: int | None,
    versions: Mapping[str, str],
    progress: Progress,
) -> Evaluation:
    """Every run in every condition that applies to it, on the same seeds.

    The numbers do not depend on `workers`. What was measured before is read from the runs'
    folders.

    Args:
        runs: the policies.
        task: that they share.
        conditions: with the nominal one.
        seeds: one episode each.
        deterministic: the likeliest actions, or drawn ones.
        workers: processes; None: as many as pay.
        versions: of the packages that the numbers depend on.
        progress: a bar.
    """
    width = width_of(task)

    def plan(
        run: Run, condition: Condition, modulation: Mapping[str, np.ndarray] | None = None
    ) -> Iterator[tuple[Job, Path]]:
        for wave in waves(seeds, width):
            job = Job(
                run.folder / "policy",
                run.previous,
                task,
                condition,
                wave,
                width,
                deterministic,
                modulation,
                run.revealed,
            )
            yield job, run.cache / job.name(run.digest, versions)

    def measure(plans: Sequence[list[tuple[Job, Path]]]) -> list[Outcome]:
        done = iter(run_jobs([job for parts in plans for job in parts], workers, progress))
        return [joined([next(done) for _ in parts]) for parts in plans]

    chosen, skipped = [], list[Skipped]()
    for run in runs:
        kept, left_out = applicable(run, conditions)
        chosen.append(kept)
        skipped += [entry for entry in left_out if entry not in skipped]
    guesses = [
        Job(None, False, task, CLEAN, wave, width, deterministic) for wave in waves(seeds, width)
    ]
    random_plan = [(job, runs[0].cache / job.name("random", versions)) for job in guesses]
    every = [(i, c) for i in range(len(runs)) for c in chosen[i]]
    # the means of the neuromodulators are known only once the nominal episodes are over
    later = [(i, c) for i, c in every if c.lesion == "modulator-mean"]
    now = [entry for entry in every if entry not in later]
    random, *measured = measure([random_plan, *[list(plan(runs[i], c)) for i, c in now]])
    outcomes: list[dict[str, Outcome]] = [{} for _ in runs]
    for (i, condition), outcome in zip(now, measured):
        outcomes[i][condition.key] = outcome
    if later:
        means = [modulator_means(outcome[NOMINAL]) for outcome in outcomes]
        plans = [list(plan(runs[i], condition, means[i])) for i, condition in later]
        for (i, condition), outcome in zip(later, measure(plans)):
            outcomes[i][condition.key] = outcome
    return Evaluation(runs, task, conditions, seeds, deterministic, outcomes, random, skipped)


def modulator_means(nominal: Outcome) -> dict[str, np.ndarray]:
    """Mean of each neuromodulator over the steps of the nominal episodes, by field, float32."""
    return {
        name.removeprefix("modulation/"): (total / nominal["modulation/count"]).astype(np.float32)
        for name, total in nominal.items()
        if name.startswith("modulation/") and name != "modulation/count"
    }
