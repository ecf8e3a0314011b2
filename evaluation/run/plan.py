"""Plans the jobs of an evaluation, has several cores run them, and gathers what came of them. It is
kept on disk under names made of all that it depends on, so that what was interrupted goes on.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import site
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import platformdirs
import torch
from safetensors.numpy import save

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.common import (
    UsageError,
    become_worker,
    cores,
    progress_bar,
    reason,
    whole_file,
)
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Skipped, Task
from spikepropamine.evaluation.ask.runs import Run, applicable
from spikepropamine.evaluation.run import episodes
from spikepropamine.evaluation.run.episodes import Job, Outcome
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import LARGEST, Unreadable, read_tensors
from spikepropamine.versions import digest_of, digests_of, import_modules, imported

TEACHER = "teacher"
SHORT = 300_000  # steps; starting other processes takes longer than these
ROOT = Path(__file__).parents[2]
MEMBERS = {
    "seed",
    "return",
    "length",
    "rewards",
    "correct",
    "began",
}  # of every outcome
CACHE = "SPIKEPROPAMINE_CACHE"  # the environment variable that names another folder


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for, found and checked."""

    runs: list[Run]  # trained policies of one task
    task: Task
    conditions: list[Condition]  # the clean one among them
    teacher: (
        Run | None
    )  # a policy that is told the contexts of the conditions; None: there is none
    seeds: range  # of the episodes, the same in each condition
    deterministic: bool  # the likeliest actions, or sampled ones
    skipped: list[Skipped]  # what does not apply
    folder: Path  # for the results


@dataclass(frozen=True)
class Evaluation(Asked):
    """All that was measured."""

    # for each run, by key of the condition; `run.episodes.run_job` says what
    outcomes: list[dict[str, Outcome]]
    # what policies are held against, by name and key of the condition: "random" actions and
    # standing "still" in the clean condition; random actions and the "teacher" that is told the
    # context where there are contexts
    references: dict[str, dict[str, Outcome]]


def evaluate(
    asked: Asked, workers: int | None, versions: Mapping[str, str]
) -> Evaluation:
    """Every run in every condition that applies to it: an episode for each seed.

    The numbers do not depend on `workers` (processes; None: as many as pay), but on the `versions`
    of the packages.
    """
    runs, task, teacher = asked.runs, asked.task, asked.teacher

    def jobs_of(of: int | str, condition: Condition) -> list[Job]:
        """One for each wave."""
        run = runs[of] if isinstance(of, int) else teacher if of == TEACHER else None
        width = episodes.width_of(task)
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
        return [replace(job, seeds=wave) for wave in episodes.waves(asked.seeds, width)]

    contexts = [c for c in asked.conditions if c.lesion is None and c.has_contexts]
    # by index of a run, or name of a reference
    parts: list[tuple[int | str, Condition]] = [
        ("random", c) for c in (CLEAN, *contexts)
    ]
    parts += [("still", CLEAN)] if task.can_stand_still else []
    parts += [(TEACHER, c) for c in contexts] if teacher is not None else []
    skipped = list(asked.skipped)
    for index, run in enumerate(runs):
        kept, left_out = applicable(run, asked.conditions)
        parts += [(index, condition) for condition in kept]
        skipped += [entry for entry in left_out if entry not in skipped]
    plans = [jobs_of(of, condition) for of, condition in parts]
    with TemporaryDirectory() as place:  # a training may replace its policy meanwhile
        folders = {
            job.folder for jobs in plans for job in jobs if job.folder is not None
        }
        copies = {
            x: shutil.copytree(x, Path(place) / str(i)) for i, x in enumerate(folders)
        }
        for run in runs:
            if (
                load_policy(copies[RunFolder(run.folder).policy]).metadata["steps"]
                != run.steps
            ):
                raise UsageError(
                    f"{run.folder} has a new policy by now: evaluate it again"
                )
        every = [
            replace(x, folder=x.folder and copies[x.folder])
            for jobs in plans
            for x in jobs
        ]
        done = iter(run_jobs(every, workers, versions))
    outcomes: dict[int | str, dict[str, Outcome]] = {}
    for (of, condition), jobs in zip(parts, plans):
        outcomes.setdefault(of, {})[condition.key] = episodes.joined(
            [next(done) for _ in jobs]
        )
    return Evaluation(
        **vars(asked) | {"skipped": skipped},
        outcomes=[outcomes[index] for index in range(len(runs))],
        references={
            name: found for name, found in outcomes.items() if isinstance(name, str)
        },
    )


def run_jobs(
    jobs: Sequence[Job], workers: int | None, versions: Mapping[str, str]
) -> list[Outcome]:
    """The outcome of each job, read from its file where that is there, or run and written to it, by
    so many processes; None: as many as there are cores, or one where the work is short. After
    Ctrl-C what was finished is in its files. Raises UsageError: a worker was killed.
    """
    files = [cache_folder() / cache_name(job, versions) for job in jobs]
    outcomes: list[Any] = [read_outcome(file) for file in files]
    left = [index for index, outcome in enumerate(outcomes) if outcome is None]
    if workers is None:
        steps = sum(jobs[index].episodes * jobs[index].task.horizon for index in left)
        workers = 1 if steps < SHORT else cores()
    # in the same place one after the other, so that their environments are made once
    places = list(dict.fromkeys(jobs[index].place for index in left))
    left.sort(key=lambda index: places.index(jobs[index].place))
    workers = min(workers, len(left))
    done = (
        _run_here(jobs, left)
        if workers <= 1
        else _run_side_by_side(jobs, left, workers)
    )
    place: str | None = f"{cache_folder()}; the variable {CACHE} names another folder"
    with progress_bar(sum(jobs[index].episodes for index in left), "episodes") as bar:
        if len(left) < len(jobs):
            bar.write(
                f"{len(jobs) - len(left)} of {len(jobs)} parts are in the cache",
                file=sys.stderr,
            )
        for index, outcome in done:
            outcomes[index] = outcome
            bar.update(jobs[index].episodes)
            try:  # here, so that a worker that is stopped leaves no half file
                if place is not None:
                    write_outcome(files[index], outcome)
            except OSError as error:  # it can do without
                bar.write(f"nothing is kept, {reason(error)}: {place}", file=sys.stderr)
                place = None
    return outcomes


def _run_here(
    jobs: Sequence[Job], order: Sequence[int]
) -> Iterator[tuple[int, Outcome]]:
    try:
        for index in order:
            yield index, episodes.run_job(jobs[index])
    finally:
        episodes.close_environments()
        episodes.loaded.cache_clear()  # their folders may have others the next time


def _run_side_by_side(
    jobs: Sequence[Job], order: Sequence[int], workers: int
) -> Iterator[tuple[int, Outcome]]:
    # not forked: PyTorch's and MuJoCo's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (imported,))
    try:
        running = {pool.submit(episodes.run_job, jobs[index]): index for index in order}
        for future in as_completed(running):
            yield running[future], future.result()
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UsageError(
                "a worker was killed, as where memory runs out (the same command goes on, with a "
                'smaller --workers in less), or where a script lacks `if __name__ == "__main__":`'
            ) from error
        raise


def _start_worker(modules: Sequence[str]) -> None:
    import_modules(modules)  # a process of its own knows nothing of the user's
    torch.set_num_threads(1)
    become_worker()


def cache_folder() -> Path:
    """Where measurements are kept: of this user, since those that come with a run may be forged.

    It can be deleted at any time.
    """
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_path("spikepropamine"))


def cache_name(job: Job, versions: Mapping[str, str]) -> str:
    """Of a job's file: tells apart all jobs that may give different numbers, by the `versions` of
    the packages that matter, too.
    """
    given = gym.spec(job.task.environment).kwargs | dict(job.task.arguments)
    parts = {
        "job": repr(replace(job, folder=None)),
        "policy": digest_of(sorted(job.folder.glob("*")))
        if job.folder is not None
        else "",
        "files": digests_of(x for x in given.values() if isinstance(x, str)),
        "code": code_digest(job.task.environment),
        # nobody knows what a task of a notebook was before
        "once": secrets.token_hex() if _in_notebook(job.task.environment) else "",
        "versions": {k: v for k, v in versions.items() if k != "revision"},
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".safetensors"


def read_outcome(path: Path) -> Outcome | None:
    """What `write_outcome` wrote; None where there is nothing, or something damaged."""
    try:
        outcome, _ = read_tensors(path, LARGEST)
    except Unreadable:
        return None
    return outcome if outcome.keys() >= MEMBERS else None


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Writes a file that `read_outcome` reads. Several processes may write the same one."""
    with whole_file(path) as part:
        part.write_bytes(save(outcome))


def _module_of(environment: str) -> str:
    """The name of the module that has the environment."""
    entry: Any = gym.spec(environment).entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else entry.__module__


def _in_notebook(environment: str) -> bool:
    """Whether it was made in a notebook or a console, the code of which is in no file."""
    main = "__main__"
    return _module_of(environment) == main and not hasattr(
        sys.modules[main], "__file__"
    )


@functools.cache
def code_digest(environment: str) -> str:
    """Of the code that makes the numbers: this project's, and the user's as far as it is loaded:
    what is not installed, and the package of the environment.
    """
    files = {str(ROOT / "envs" / "spreads.json")}
    for name in ("envs", "policies", "evaluation"):
        files |= {str(file) for file in (ROOT / name).rglob("*.py")}
    package, installed = _module_of(environment).partition(".")[0], [sys.base_prefix]
    installed += [sys.prefix, *site.getsitepackages()]
    for name, module_there in sys.modules.items():
        root, file = (
            name.partition(".")[0],
            str(getattr(module_there, "__file__", None)),
        )
        if root in ("spikepropamine", "gymnasium", "__main__") or not os.path.isabs(
            file
        ):
            continue
        if root == package or not any(Path(file).is_relative_to(x) for x in installed):
            files.add(file)
    return digest_of(sorted(files))
