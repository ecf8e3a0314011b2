"""The videos of an evaluation: whom, in which conditions, beside what, and where the files go."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition, make_env
from spikepropamine.evaluation.ask.lesions import Lesion, Wave, layout_of
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.evaluation.film.recording import layer_spec
from spikepropamine.evaluation.film.video import Take, Video, film
from spikepropamine.evaluation.run.jobs import width_of


def film_all(
    runs: Sequence[Run],
    task: Task,
    conditions: Sequence[Condition],
    named: Sequence[str],
    seed: int,
    lesions: Sequence[Lesion],
    folder: Path,
) -> list[Video]:
    """Films the first run of each policy in the conditions that are `named`, by key, label or text
    of their perturbations, or else in the first; for the rest see `film_run`.

    Raises:
        CannotDraw: see `film`.
    """
    intact = [c for c in conditions if c.lesion is None]
    chosen = [c for c in intact if not {c.key, c.label, c.text}.isdisjoint(named)] or intact[:1]
    first = {run.name: run for run in reversed(runs)}
    return [
        film_run(run, task, condition, seed, lesions, folder)
        for run in runs
        if run is first[run.name]
        for condition in chosen
    ]


def film_run(
    run: Run, task: Task, condition: Condition, seed: int, lesions: Sequence[Lesion], folder: Path
) -> Video:
    """One episode of a run, as `folder`/POLICY-seedN-CONDITION.mp4; N is the seed of its training.

    It is the episode that the evaluation has of that seed, to the last bit, in a condition without
    a lesion. Where there are `lesions`, the intact policy and each are shown side by side, if there
    is plasticity to be taken away. The folder is created if it is missing.

    Raises:
        CannotDraw: see `film`.
    """

    def make(arguments: dict[str, Any]) -> gym.Env:
        arguments = dict(task.arguments) | arguments
        changed = replace(task, arguments=arguments)
        return make_env(changed, condition, run.previous, run.revealed)

    takes, name = [Take(make)], f"{run.name}-seed{run.seed}-{condition.key}"
    layout = layout_of(run.policy)
    if lesions and layout is not None and layer_spec(run.policy).plastic:
        wave = Wave(layout, [seed], width_of(task), condition.freeze_at(task.horizon))
        takes = [Take(make, "plastic")]
        takes += [Take(make, lesion.words, partial(lesion.hook, wave)) for lesion in lesions]
        name += "-side-by-side"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9._+=~@-]+', '_', name)}.mp4"
    text = condition.text or ("" if condition.key == CLEAN_KEY else condition.key)
    text = text and f", {text}"
    title = f"{run.name} on {task.environment}{text}, {run.steps:,} steps of training"
    return film(path, run.policy, takes, seed, title, width=width_of(task))
