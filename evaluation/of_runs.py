"""Measures of a run: what it is, how it was trained, and what its policy costs."""

import itertools
from collections.abc import Callable

import numpy as np

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.evaluation.judge.cost import KINDS, PARTS
from spikepropamine.evaluation.measure import (
    POSITIVE,
    SHARE,
    Measure,
    Number,
    Numbers,
    at_places,
    known,
)
from spikepropamine.evaluation.observed import Trained

CURVE = 20  # points of a learning curve


def _parameters(trained: Trained) -> Numbers:
    trainer = trained.settings.get("trainer", {})
    untrained = trainer.get("untrained") if isinstance(trainer, dict) else None
    yield Number(float(actor_parameters(trained.run.policy.policy, untrained or ())))


def _steps_planned(trained: Trained) -> Numbers:
    steps = trained.settings.get("steps")
    if isinstance(steps, int):
        yield Number(float(steps))


def _training_return(trained: Trained) -> Numbers:
    """The last one, and `CURVE` points of all."""
    steps, returns = trained.learning_curve
    if not len(returns):
        return
    yield Number(float(returns[-1]))
    ends = [round(trained.run.steps * (point + 1) / CURVE) for point in range(CURVE)]
    yield from at_places(ends, np.interp(ends, steps, returns, left=np.nan))


def _best_training_return(trained: Trained) -> Numbers:
    _, returns = trained.learning_curve
    if len(returns):
        yield Number(float(max(returns)))


def _cost(name: str) -> Callable[[Trained], Numbers]:
    return lambda trained: known(trained.cost.get(name))


OF_RUNS: tuple[Measure[Trained], ...] = (
    Measure(
        "parameters",
        "trainable parameters of the actor",
        "How many numbers of the actor training may change.",
        _parameters,
        bounds=POSITIVE,
        section="tested",
        on_file=True,
    ),
    Measure(
        "steps_planned",
        "steps planned",
        "For how many environment steps the run was to be trained.",
        _steps_planned,
        unit="steps",
        bounds=POSITIVE,
        section="",
    ),
    Measure(
        "seconds",
        "seconds of training",
        "How long training took, over all its sessions.",
        lambda trained: known(trained.seconds),
        unit="s",
        bounds=POSITIVE,
        higher_is_better=False,
        section="",
        on_file=True,
    ),
    Measure(
        "training_return",
        "training return, last",
        "The mean return of the last training episodes.",
        _training_return,
        higher_is_better=True,
        section="tested",
        on_file=True,
    ),
    Measure(
        "best_training_return",
        "training return, best",
        "The highest mean return of training episodes.",
        _best_training_return,
        higher_is_better=True,
        section="tested",
        on_file=True,
    ),
    *(
        Measure(
            f"cost/{part}_{kind}",
            f"{part}, {kind.replace('_', '-')}",
            f"Operations per environment step, of {part}.",
            _cost(f"{part}_{kind}"),
            bounds=POSITIVE,
            higher_is_better=False,
            section="cost",
        )
        for part, kind in itertools.product(PARTS, KINDS)
    ),
    Measure(
        "cost/energy_nJ",
        "energy in nJ",
        "Energy of the arithmetic of an environment step, in 45 nm.",
        _cost("energy_nJ"),
        unit="nJ",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/parameter_bytes",
        "weights in bytes",
        "Memory of trainable parameters.",
        _cost("parameter_bytes"),
        unit="B",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/state_bytes",
        "state in bytes",
        "Memory of what changes in an episode.",
        _cost("state_bytes"),
        unit="B",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/activation_sparsity",
        "silent activations",
        "Share of the neurons' activations that are 0.",
        _cost("activation_sparsity"),
        bounds=SHARE,
        as_percent=True,
        section="cost",
    ),
)
"""Computed from a run."""
