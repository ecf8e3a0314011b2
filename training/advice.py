"""What to try after a run that has not learned, from what is on file of it.

Each rule looks at a few facts of the run and gives one sentence, or none. At most three
are given, those first that need no further training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.agents.baselines import SPIKING
from spikepropamine.agents.zoo import agents
from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.runs import learning_settings
from spikepropamine.folder import (
    RETURN,
    RunFolder,
    read_curve,
    read_progress,
    value_of,
)
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.reading import read_json
from spikepropamine.training.sections import defaults
from spikepropamine.words import number, percent, plural

MOST = 3  # sentences
ERRORS = 3  # standard errors by which one mean is above another
SHARE_OF_RANGE = (
    0.1  # by which it is above it, too, of all that a training went through
)
SPREADS = 4  # of the last rows of a curve, by which they are above its first one
FEW = 8  # rows of a learning curve, below which nothing is said of it
LOST = 0.1  # share of the first spread of actions from which on it is gone
LOOKED_AHEAD = 10  # times that an episode is as long as what a discount looks ahead
EVALUATED = "eval/mean_reward"
SPREAD = "train/std"
ENTROPY_LOSS = "train/entropy_loss"
SILENT = "spikes/silent/"
CLIPPED = "plasticity/clipped/"


def nothing() -> np.ndarray:
    """No numbers, where nothing is known."""
    return np.array([])


@dataclass(frozen=True)
class Facts:
    """What is on file of a run. Arrays are float64, and empty where nothing is known;
    None is what is not known, too.
    """

    folder: Path
    """Of the run."""
    steps: int
    """That were trained."""
    planned: int
    """Steps that the run was to be trained for."""
    usual_steps: int | None = None
    """Steps that the configuration of the task has."""
    returns: np.ndarray = field(default_factory=nothing)
    """Of training episodes, whose actions are sampled, one for each row of the log."""
    deterministic: np.ndarray = field(default_factory=nothing)
    """Returns of episodes with deterministic actions, after training."""
    sampled: np.ndarray = field(default_factory=nothing)
    """Returns of episodes with sampled actions, after training, in an evaluation."""
    best: tuple[int, float] | None = None
    """Step and mean return of the best evaluation while the policy was trained."""
    spreads: np.ndarray = field(default_factory=nothing)
    """Standard deviation of continuous actions, for each row of the log."""
    entropies: np.ndarray = field(default_factory=nothing)
    """Of the distribution of discrete actions, for each row of the log."""
    silent: tuple[str, ...] = ()
    """Layers in which no neuron spikes, in the last row of the log."""
    clipped: tuple[tuple[str, float], ...] = ()
    """Layers, and the share of their fast weights that are at their bound."""
    sequence_length: int | None = None
    """Steps through which gradients flow; None: the actor has no memory, too."""
    gamma: float | None = None
    """Discount factor."""
    horizon: int | None = None
    """Steps of the longest episode."""
    is_static: bool = False
    """Whether nothing in the actor outlasts a few steps: it has no plasticity, no
    recurrence, and no LSTM or GRU."""
    helped: bool = False
    """Whether training episodes differ from those of the task: perturbations, noise, a
    teacher, a hint."""


Rule = Callable[[Facts], str | None]


def stopped_early(facts: Facts) -> str | None:
    """The run is not at its end."""
    if facts.steps >= facts.planned:
        return None
    return (
        f"It was trained for {facts.steps:,} of {facts.planned:,} steps: continue with "
        "the same command and --resume."
    )


def sampled_is_better(facts: Facts) -> str | None:
    """Sampled actions earn more than deterministic ones, in an evaluation, or else at
    the end of training.
    """
    if _is_higher(facts.sampled, facts.deterministic):
        return (
            f"Sampled actions earn {number(facts.sampled.mean())} an episode, "
            f"deterministic ones {number(facts.deterministic.mean())}: use it with "
            "sampled actions (deterministic=False, --stochastic), or train longer."
        )
    if facts.sampled.size or facts.helped:
        return None
    _, last = _quarters(facts.returns)
    if not _is_higher(last, facts.deterministic, facts.returns):
        return None
    return (
        f"Sampled actions earned {number(last.mean())} at the end of training, "
        f"deterministic ones earn {number(facts.deterministic.mean())}: evaluate it "
        "with --stochastic."
    )


def was_better_before(facts: Facts) -> str | None:
    """An earlier policy, which is kept, earned more."""
    if facts.best is None:
        return None
    step, mean = facts.best
    is_earlier = step < facts.steps
    if is_earlier and _is_higher(np.array([mean]), facts.deterministic, facts.returns):
        return (
            f"The policy of step {step:,} earned {number(mean)} in its evaluation: "
            f"evaluate {RunFolder(facts.folder).best}."
        )
    return None


def is_silent(facts: Facts) -> str | None:
    """A layer does not spike, so that nothing behind it can learn."""
    if not facts.silent:
        return None
    return (
        f"No neuron of {facts.silent[0]} spikes: raise --network.gain or "
        "--network.input-gain."
    )


def is_static(facts: Facts) -> str | None:
    """Nothing in the actor remembers."""
    if not facts.is_static:
        return None
    return (
        "Nothing in this policy learns while it acts: if episodes differ in what they "
        "hide, try --policy ndp-oja or --policy lstm."
    )


def still_rises(facts: Facts) -> str | None:
    """The return rises up to the end of training."""
    before, last = _quarters(facts.returns)
    if not _is_higher(last, before, facts.returns):
        return None
    return (
        "The return of training episodes still rises: it is "
        f"{number(before.mean())} in the third quarter of training and "
        f"{number(last.mean())} in the last. Train longer, with --resume and more "
        "--steps."
    )


def has_few_steps(facts: Facts) -> str | None:
    """The settings of the task have more steps."""
    if facts.usual_steps is None or facts.planned >= facts.usual_steps:
        return None
    return (
        f"It was trained for {facts.planned:,} steps, and the default for this task is "
        f"{facts.usual_steps:,}: train longer, with --resume and more --steps."
    )


def explores_no_more(facts: Facts) -> str | None:
    """The spread of actions is gone."""
    if _is_lost(facts.spreads):
        return (
            f"The standard deviation of actions fell from {number(facts.spreads[0])} "
            f"to {number(facts.spreads[-1])}: raise --trainer.ent-coef or "
            "--trainer.log-std-init."
        )
    if not facts.spreads.size and _is_lost(facts.entropies):
        return (
            f"The entropy of actions fell from {number(facts.entropies[0])} to "
            f"{number(facts.entropies[-1])}: raise --trainer.ent-coef."
        )
    return None


def is_at_its_bound(facts: Facts) -> str | None:
    """Fast weights can hardly change."""
    for layer, share in facts.clipped:
        if share > 0.9:
            return (
                f"{percent(share)} of the fast weights of {layer} are at their bound: "
                "lower --network.eta or raise --network.clip."
            )
    return None


def sees_little_of_an_episode(facts: Facts) -> str | None:
    """Gradients reach back less far than an episode is long."""
    length = facts.sequence_length
    if length is None or facts.horizon is None or length >= facts.horizon:
        return None
    return (
        f"Gradients reach back {length:,} steps, and an episode has up to "
        f"{facts.horizon:,}: if it has to remember for longer, raise "
        "--trainer.sequence-length."
    )


def looks_little_ahead(facts: Facts) -> str | None:
    """The discount lets the policy look ahead less far than an episode is long."""
    if not facts.gamma or facts.horizon is None or facts.gamma >= 1:
        return None  # a discount of 0 is for tasks that reward each action at once
    ahead = 1 / (1 - facts.gamma)
    if LOOKED_AHEAD * ahead >= facts.horizon:
        return None
    steps = plural(round(ahead), "step")
    return (
        f"A discount of {facts.gamma:g} looks about {steps} ahead, and an episode has "
        f"up to {facts.horizon:,}: if rewards come late, raise "
        "--trainer.gamma."
    )


RULES: tuple[Rule, ...] = (
    stopped_early,
    sampled_is_better,
    was_better_before,
    is_silent,
    is_static,
    still_rises,
    has_few_steps,
    explores_no_more,
    is_at_its_bound,
    sees_little_of_an_episode,
    looks_little_ahead,
)
"""In the order in which they are heard."""


def advice(facts: Facts) -> list[str]:
    """What to try, in up to three sentences.

    Args:
        facts: of the run.
    """
    sentences = (rule(facts) for rule in RULES)
    return [sentence for sentence in sentences if sentence is not None][:MOST]


def has_not_risen(returns: np.ndarray) -> bool:
    """Whether a learning curve of some length ends no higher than it began.

    The last quarter is compared with the first, and with the first row alone, since a
    run may learn within its first rows.

    Args:
        returns: [rows] of the log.
    """
    if len(returns) < FEW:
        return False
    quarter = len(returns) // 4
    last = returns[-quarter:]
    risen_since_first_row = last.mean() - returns[0]
    if risen_since_first_row > SPREADS * last.std():
        return False
    return not _is_higher(last, returns[:quarter])


def facts_of(folder: Path, settings: Mapping[str, Any], steps: int) -> Facts:
    """What is on file of a run.

    Args:
        folder: of the run; what is missing in it is not known.
        settings: of its training, plain values, as its policy has them.
        steps: that were trained.
    """
    progress = RunFolder(folder).progress
    of_training = learning_settings(settings)
    _, returns = read_curve(progress, RETURN)
    _, evaluated = read_curve(progress, EVALUATED)
    _, spreads = read_curve(progress, SPREAD)
    _, losses = read_curve(progress, ENTROPY_LOSS)
    return Facts(
        folder=folder,
        steps=steps,
        planned=settings["steps"],
        usual_steps=_usual_steps(settings),
        returns=returns,
        deterministic=evaluated[-1:],
        best=_best(RunFolder(folder).best),
        spreads=spreads,
        entropies=-losses,
        silent=tuple(
            layer for layer, share in _last_of(progress, SILENT) if share == 1
        ),
        clipped=tuple(_last_of(progress, CLIPPED)),
        sequence_length=of_training.get("trainer.sequence_length"),
        gamma=of_training.get("trainer.gamma"),
        is_static=_is_static(settings),
        helped=_is_helped(settings),
    )


def _is_higher(
    one: np.ndarray, other: np.ndarray, of_training: np.ndarray | None = None
) -> bool:
    """Whether the mean of some returns is clearly above that of others: by some
    standard errors, and by a share of the range of all returns of a training.
    """
    if not one.size or not other.size:
        return False
    difference = one.mean() - other.mean()
    if difference <= 0:
        return False
    variance = sum(
        values.var(ddof=1) / len(values) for values in (one, other) if len(values) > 1
    )
    least = 0.0
    if of_training is not None and of_training.size:
        least = SHARE_OF_RANGE * np.ptp(of_training)
    return bool(difference > max(ERRORS * np.sqrt(variance), least))


def _quarters(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The third and the last quarter of a learning curve; empty where it is short."""
    if len(returns) < FEW:
        return nothing(), nothing()
    quarter = len(returns) // 4
    return returns[-2 * quarter : -quarter], returns[-quarter:]


def _is_lost(values: np.ndarray) -> bool:
    return len(values) > 1 and bool(values[-1] < LOST * values[0])


def _usual_steps(settings: Mapping[str, Any]) -> int | None:
    """The steps that the configuration of a task has; None where it cannot be said, as
    of a policy that is not known here.
    """
    try:
        usual = defaults(
            settings["env"],
            settings["policy"],
            taught=settings.get("teacher") is not None,
            cued=settings.get("cue") is not None,
            kind=settings["trainer"]["kind"],
        )
    except (UsageError, KeyError, TypeError):
        return None
    return usual.steps


def _best(folder: Path) -> tuple[int, float] | None:
    """Step and mean return of the best policy that training kept."""
    try:
        file = RunFolder(folder).policy / "policy.json"
        metadata = read_json(file, inside=folder)["metadata"]
        return int(metadata["steps"]), float(metadata["evaluation"]["mean_reward"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_of(progress: Path, section: str) -> list[tuple[str, float]]:
    """By layer, the last values that a log has of a section."""
    columns, rows = read_progress(progress)
    last = []
    for column in columns:
        values = [value_of(row[column]) for row in rows]
        known = [value for value in values if np.isfinite(value)]
        if column.startswith(section) and known:
            layer = column.removeprefix(section).replace("layer", "layer ")
            last.append((layer, known[-1]))
    return last


def _is_static(settings: Mapping[str, Any]) -> bool:
    """Whether the actor has neither plasticity nor another memory; False where that
    cannot be said, as of a policy that is not known here.
    """
    try:
        agent = agents()[settings["policy"]]
        network = agent.network(NetworkConfig.of(settings["network"]))
    except (KeyError, TypeError, ValueError):
        return False
    if agent.actor is None:
        return False
    if not agent.actor.memory:
        return True
    is_plain = network.rule == "none" and not any(network.recurrent)
    return agent.actor is SPIKING and is_plain


def _is_helped(settings: Mapping[str, Any]) -> bool:
    """Whether training episodes differ from those of the plain task."""
    arguments = settings.get("env_kwargs") or {}
    helps = [settings.get(name) for name in ("perturb", "teacher", "cue")]
    helps += [arguments.get(name) for name in ("noise", "told")]
    return any(helps)
