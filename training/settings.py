"""The settings of a training run, and whether they can work together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from spikepropamine import options
from spikepropamine.agents.algorithms import ALGORITHMS, TAUGHT, TrainerSettings
from spikepropamine.agents.zoo import agents, concerned
from spikepropamine.common import UsageError, check_known, require
from spikepropamine.folder import RunFolder
from spikepropamine.options import Count, Few, NotNegative, Number, Scalar, Seed
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.config import completed_network
from spikepropamine.reading import read_yaml

CHANGES_NO_NUMBER = {
    "resume",
    "overwrite",
    "runs",
    "log_every",
    "console",
    "threads",
    "track",
    "tensorboard",
    "video_every",
    "eval_every",
    "imports",
    "trainer.workers",
    "trainer.cluster",
}
"""Settings that make no difference to what is learned."""
CHANGEABLE = CHANGES_NO_NUMBER | {
    "steps",
    "n_envs",
    "checkpoint_every",
    "device",
    "backend",
}
"""Settings that may differ when a run is resumed."""
OF_ONE_RUN = {
    "env",
    "policy",
    "seed",
    "imports",
    "runs",
    "resume",
    "overwrite",
    "start_from",
    "track",
}
"""Settings that are not taken from the config.yaml of another run."""
INITIAL = {
    "trainer.log_std_init",
    "network.gain",
    "network.input_gain",
    "network.plasticity_gain",
    "network.modulator_gain",
    "network.membrane_decay",
    "network.trace_decay",
    "network.threshold_decay",
    "network.readout_decay",
    "network.eta",
}
"""Initial values of what is learned; a policy that starts from another has the values
of that one."""


@dataclass(frozen=True)
class Settings:
    """Trains a policy on an environment and leaves a run folder."""

    env: str
    """Id of a Gymnasium environment with Box or discrete spaces (`spikepropamine list
    envs`), or MODULE:ID of one that your own module registers."""
    policy: str
    """mlp, lstm, gru, lstm-linear, gru-linear, lstm-stock, snn, rsnn, or dp-RULE or
    ndp-RULE with a RULE such as hebb, oja or bcm (`spikepropamine list policies` has
    all)."""
    imports: tuple[str, ...] = field(default=(), metadata={"flag": "import"})
    """Your own modules, which register environments, policies, rules or
    perturbations."""
    seed: Seed = 0
    """Of the weights, the exploration and the environments."""
    steps: Count = 1_000_000
    """Environment steps to train for."""
    n_envs: Few = 8
    """Environments stepped side by side."""
    env_kwargs: dict[str, Scalar] = field(default_factory=dict)
    """Arguments of the environment, as NAME VALUE pairs."""
    perturb: str | None = None
    """Train under perturbations, as in "mass=0.5..2 | obs_noise=0..0.2", or under those
    of a suite that training may use, by its name or file (`spikepropamine list
    perturbations`, `list suites`).
    Evaluation starts from the task without them."""
    previous: bool = False
    """Append the previous action and reward to the observation."""
    reveal: bool = False
    """Append what is hidden to the observation, contexts and the values of `--perturb`:
    for teachers, and to know what could be reached."""
    cue: tuple[NotNegative, ...] | None = None
    """SHARE STEPS: show the policy what is hidden in a share of the episodes that falls
    linearly to none over so many environment steps, and in no others; a share above 1
    is 1 until it has fallen so far. Without numbers: 2, and a third of the training."""
    critic_told: bool = False
    """The critic observes what is hidden; the policy does not."""
    critic_first: Number = 0
    """Environment steps in which the critic alone learns, as after `--from` a taught
    policy."""
    teacher: Path | None = None
    """Learn from this policy (the folder of a run, or a name in `spikepropamine list
    trained`), which knows what is hidden: trained on the plain task (it is then told
    the context of a perturbed one), or with `--reveal`."""
    start_from: Path | None = field(default=None, metadata={"flag": "from"})
    """Start with the weights of this policy, named likewise."""
    normalize_observations: bool = False
    """Running mean and variance of observations (VecNormalize), where they are numbers
    (Box) and no pictures."""
    normalize_rewards: bool = False
    """Running variance of returns (VecNormalize); on the training rewards only."""
    match_parameters: str | None = None
    """Scale `network.hidden` until the actor is as large as that of this other
    policy."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The actor."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """The learning algorithm."""
    runs: Path = Path("runs")
    """Folder of the run folders, RUNS/ENV/POLICY/seed-N."""
    resume: bool = False
    """Continue the run from its last checkpoint."""
    overwrite: bool = False
    """Replace a run that is already there."""
    checkpoint_every: Count | None = None
    """Environment steps between checkpoints, at each of which all environments begin
    new episodes; 50,000, or five of the longest episodes of each environment where that
    is more."""
    video_every: Number = 0
    """Environment steps between videos of the policy as it is, the last at the end; 0:
    none."""
    eval_every: Number = 0
    """Environment steps between evaluations of deterministic actions in environments of
    their own, the best policy of which is kept in the run folder `best`; 0: none."""
    log_every: Count | None = None
    """Rollouts between the tables printed to the console and the rows of progress.csv;
    10, or so many that there are 20 rows."""
    console: Literal["tables", "bar", "none"] = "tables"
    """What is printed while it trains: tables and a progress bar, the bar alone, or
    nothing but warnings. The files of the run are the same."""
    track: Literal["off", "offline", "online"] = "off"
    """Track with Weights & Biases: offline, to look at here or upload later, or
    online."""
    tensorboard: bool = False
    """Write TensorBoard's event files to the run folder too."""
    threads: Few = 1
    """Threads that step the environments at the same time; pays where physics take long
    (Ant, Humanoid). The numbers are the same with any; PyTorch has one."""
    backend: Literal["auto", "numba", "reference"] = "auto"
    """What runs spiking layers; auto is the fastest that can."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where to train."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder.of(self.runs, self.env, self.policy, self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return options.plain(self)


def with_network_of_policy(settings: Settings) -> Settings:
    """The settings with what the policy's name makes of the network: its rule, its
    modulation, its recurrence.
    """
    network = agents()[settings.policy].network(settings.network)
    return replace(settings, network=network)


def has_effect(settings: Settings) -> Callable[[str], bool]:
    """Whether a setting, by its dotted name, has an effect in a training with such
    settings.
    """
    kind = settings.trainer.kind
    matters = concerned(settings.policy, settings.teacher is not None, kind)
    starts_from_another = settings.start_from is not None
    if starts_from_another and not ALGORITHMS[kind].draws_weights:
        return lambda name: matters(name) and name not in INITIAL
    return matters


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that a run can be resumed.

    Args:
        before: the settings that it was made with, plain values.
        now: those that are given to go on with.

    Raises:
        UsageError: settings differ that cannot change when a run is resumed.
    """
    old_values = options.flat(before)
    new_values = options.flat(now)
    for name, old in old_values.items():
        if name in CHANGEABLE or name not in new_values:
            continue
        new = new_values[name]
        if new == old:
            continue
        option = _option_of(name)
        if name == "env_kwargs":
            key = _first_difference(old, new)
            option = f"{option} {key}"
            old = old.get(key)
            new = new.get(key)
        raise UsageError(
            f"{option} was {old!r} when the run was made, and is {new!r} now: it "
            "cannot change when a run is resumed; a new one can have its weights "
            "(--from)"
        )


def _option_of(name: str) -> str:
    """The option of a setting, by its dotted name."""
    outer, dot, inner = name.partition(".")
    members = {member.name: member for member in fields(Settings)}
    return options.flag(members[outer]) + f"{dot}{inner}".replace("_", "-")


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first key with different values in two mappings."""
    return next(key for key in [*old, *new] if old.get(key) != new.get(key))


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, with what older ones do not say, as it was before there was a
    choice, and without what is no option any more.
    """
    known = {member.name for member in fields(Settings)}
    kept = {name: value for name, value in settings.items() if name in known}
    trainer = options.plain(TrainerSettings())
    for name in trainer:
        trainer[name] = settings["trainer"].get(name, trainer[name])
    kept["network"] = completed_network(settings["network"])
    kept["trainer"] = trainer
    return kept


def read_config(file: Path) -> dict[str, Any]:
    """The settings that a run was started with, plain values. Raises UsageError: the
    file has none.
    """
    content = read_yaml(file, inside=file.parent)
    try:
        return completed(content["settings"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{file} is damaged: it has no settings of a training"
        ) from error


def validated(settings: Settings) -> Settings:
    """The settings themselves. Raises UsageError where they cannot work together."""
    other = settings.match_parameters
    if other is not None:
        check_known("policy", other, agents(), "match_parameters: ")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here; use --device cpu")
    if settings.tensorboard:
        require("tensorboard", "tensorboard", "--tensorboard")
    if settings.video_every:
        require("av", "films", "--video-every")
    if settings.cue is not None:
        if settings.reveal:
            raise UsageError("--cue: leave out --reveal")
        if len(settings.cue) != 2:
            raise UsageError("--cue: it takes a share and steps, as 0.7 1e6")
    _check_algorithm(settings)
    if settings.teacher is not None and settings.trainer.kind != TAUGHT:
        raise UsageError(f"with a teacher, trainer.kind must be {TAUGHT}; leave it out")
    return settings


def _check_algorithm(settings: Settings) -> None:
    """Raises UsageError where the algorithm cannot work with the other settings."""
    trainer = settings.trainer
    algorithm = ALGORITHMS[trainer.kind]
    if algorithm.needs.package:
        require(
            algorithm.needs.package, algorithm.name, f"--trainer.kind {algorithm.name}"
        )
    for name, message in algorithm.refuses.items():
        if getattr(settings, name):
            raise UsageError(message)
    if algorithm.needs.processors_only and settings.device == "cuda":
        raise UsageError(f"{algorithm.name} runs on processors; use --device cpu")
    for fewest in algorithm.needs.steps(trainer, settings.n_envs):
        if settings.steps <= fewest.steps:
            option = f"--trainer.{fewest.setting}".replace("_", "-")
            raise UsageError(
                f"--steps {settings.steps:,}: to learn something it takes more than "
                f"{fewest.steps:,} steps, or less {option}"
            )
