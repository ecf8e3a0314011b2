"""Settings of a training run: the dataclass, its defaults in `configs/`, and the command line."""

import argparse
import contextlib
import difflib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro
import yaml

from spikepropamine.agents.zoo import TrainerSettings, agents, check_agent
from spikepropamine.common import UsageError
from spikepropamine.policies import NetworkConfig

CONFIGS = Path(__file__).parent.parent / "configs"

# what may differ when a run is resumed
CHANGEABLE = {
    "resume", "overwrite", "runs", "steps", "checkpoint_every", "log_every", "threads", "device",
    "backend", "track", "tensorboard", "video_every",
}  # fmt: skip

EnvValue = int | float | bool | str


@dataclass(frozen=True)
class Settings:
    """Trains a policy on an environment and leaves a run folder."""

    env: str
    """Id of a Gymnasium environment with Box or discrete spaces."""
    policy: str
    """mlp, lstm, lstm-stock, snn, or dp-RULE or ndp-RULE with a RULE such as hebb, oja or bcm."""
    seed: int = 0
    """Of the weights, the exploration and the environments."""
    steps: int = 1_000_000
    """Environment steps to train for."""
    n_envs: int = 8
    """Environments stepped side by side."""
    env_kwargs: dict[str, EnvValue] = field(default_factory=dict)
    """Arguments of the environment, as NAME VALUE pairs."""
    perturb: str | None = None
    """Train under perturbations, as in "mass=0.5..2 | obs_noise=0..0.2", or under those of a suite
    that training may use, by its name. Evaluation starts from the task without them."""
    previous: bool = False
    """Append the previous action and reward to the observation."""
    reveal: bool = False
    """Append the hidden context of `--perturb` to the observation: for teachers, and to know what
    could be reached."""
    teacher: Path | None = None
    """Learn from the policy of this run folder, which knows what is hidden: trained on the plain
    task (it is then told the context of a perturbed one), or with `--reveal`."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start with the weights of the policy of this run folder."""
    normalize_observations: bool = False
    """Running mean and variance of observations (VecNormalize), where they are numbers (Box)."""
    normalize_rewards: bool = False
    """Running variance of returns (VecNormalize); on the training rewards only."""
    match_parameters: str | None = None
    """Scale `network.hidden` until the actor is as large as that of this other policy."""
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
    checkpoint_every: int = 50_000
    """Environment steps between checkpoints."""
    video_every: int = 0
    """Environment steps between videos of the policy as it is; 0: none."""
    log_every: int = 10
    """Rollouts between the tables printed to the console and the rows of progress.csv."""
    track: Literal["off", "offline", "online"] = "off"
    """Track with Weights & Biases: offline, to look at here or upload later, or online."""
    tensorboard: bool = False
    """Write TensorBoard's event files to the run folder too."""
    threads: int = 1
    """PyTorch threads; 1 is usually fastest for small networks."""
    backend: Literal["auto", "numba", "torch", "reference"] = "auto"
    """What runs spiking layers; auto is the fastest that can."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where to train."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.runs / self.env / self.policy / f"seed-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def updated(settings: Any, changes: dict[str, Any], where: str) -> Any:
    """A copy of a settings dataclass with nested `changes` applied.

    Raises:
        UsageError: a name that the dataclass does not have, or a value that it refuses.
    """
    names = {f.name for f in fields(settings)}
    values = {}
    for name, value in changes.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{where}: unknown setting {name!r}{hint}")
        current = getattr(settings, name)
        if is_dataclass(current):
            value = updated(current, value, f"{where}, {name}")
        elif isinstance(current, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(current, Path):
            value = Path(value)
        values[name] = value
    try:
        return replace(settings, **values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def defaults(env: str, policy: str, taught: bool = False) -> Settings:
    """Settings for an environment and a policy, before the command line.

    `configs/ENV.yaml` (or `configs/default.yaml` where there is none) has a section `all`, and
    sections named like a policy or its family (`ndp` for every `ndp-*`), which come later and win;
    then those of learning from a teacher, `taught`, `taught-ndp` and so on, where there is one.
    Where it has a `base`, the name of another file, the sections of that one come before, and
    so on.
    """
    settings = Settings(env=env, policy=policy)
    if taught:
        settings = replace(settings, trainer=replace(settings.trainer, kind="supervised"))
    file = CONFIGS / f"{env.replace('/', '-')}.yaml"
    if not file.is_file():
        file = CONFIGS / "default.yaml"
    files = [(file, yaml.safe_load(file.read_text()) or {})]
    while "base" in files[0][1]:
        file = CONFIGS / f"{files[0][1]['base']}.yaml"
        files.insert(0, (file, yaml.safe_load(file.read_text())))
    for file, sections in files:
        names = list(dict.fromkeys(("all", policy.split("-")[0], policy)))
        if taught:
            names += ["taught", *(f"taught-{name}" for name in names[1:])]
        for name in names:
            if name in sections:
                settings = updated(settings, sections[name], f"{file.name}, section {name}")
    return settings


def check_env_id(env: str) -> None:
    """Raises UsageError, with the nearest names, unless Gymnasium knows `env`."""
    try:
        gym.spec(env)
    except (gym.error.Error, ValueError) as error:
        near = difflib.get_close_matches(env, gym.registry, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"unknown environment {env!r}{hint}") from error


def parse(arguments: Sequence[str]) -> Settings:
    """Settings out of command-line arguments, over the defaults in `configs/`.

    Raises:
        UsageError: anything that is wrong with them.
        SystemExit: after --help.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--env")
    first.add_argument("--policy")
    first.add_argument("--teacher")
    try:
        known, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    helping = "--help" in arguments or "-h" in arguments
    if not helping:
        for name, example in (("env", "CueAssociation-v0"), ("policy", "ndp-oja")):
            if getattr(known, name) is None:
                raise UsageError(f"--{name} is missing, for instance --{name} {example}")
        check_env_id(known.env)
    if known.policy is not None:
        try:
            check_agent(known.policy)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if known.env is None or known.policy is None:
        return _cli(arguments, Settings(env=tyro.MISSING, policy=tyro.MISSING), helping)
    settings = _cli(
        arguments, defaults(known.env, known.policy, known.teacher is not None), helping
    )
    if not settings.resume or not (settings.folder / "config.yaml").is_file():
        return settings
    stored = updated(settings, _read_config(settings.folder), "config.yaml")
    resumed = _cli(arguments, stored, helping)
    for name, value in resumed.as_dict().items():
        if name not in CHANGEABLE and value != stored.as_dict()[name]:
            raise UsageError(
                f"{name} cannot change when a run is resumed "
                f"({', '.join(sorted(CHANGEABLE - {'resume', 'overwrite'}))} can)"
            )
    return resumed


def _read_config(folder: Path) -> dict[str, Any]:
    """The settings that a run was started with."""
    settings = yaml.safe_load((folder / "config.yaml").read_text())["settings"]
    # older ones do not say how their fast weights decay
    settings["network"] = {"decay": "plain"} | settings["network"]
    return settings


def _cli(arguments: Sequence[str], default: Settings, helping: bool) -> Settings:
    # to tyro a dict that has entries has no others; arguments are laid over these below
    env_kwargs = default.env_kwargs
    default = replace(default, env_kwargs={})
    if helping:
        return tyro.cli(Settings, default=default, args=arguments)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            settings = tyro.cli(Settings, default=default, args=arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except SystemExit as error:
        raise UsageError(_one_line(output.getvalue())) from error
    return validated(replace(settings, env_kwargs=env_kwargs | settings.env_kwargs))


def _one_line(report: str) -> str:
    """The message in tyro's boxed report: what stands between its title and the first ruler, and
    the nearest option's name where it suggests some.
    """
    lines = [line.strip("│| ") for line in report.splitlines()]
    sections: list[list[str]] = [[]]
    for line in lines[1:]:  # the first is the box's title
        if line.strip("─-╭╮╰╯+ "):
            sections[-1].append(line)
        elif sections[-1]:
            sections.append([])
    message = " ".join(sections[0])
    for section in sections[1:]:
        options = [line.split()[0] for line in section if line.startswith("--")]
        if section and section[0].startswith("Perhaps you meant") and options:
            message += f"; did you mean {options[0]}?"
    return message


def validated(settings: Settings) -> Settings:
    """The settings themselves. Raises UsageError where they cannot work together."""
    for name in ("steps", "n_envs", "checkpoint_every", "log_every", "threads"):
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 1, got {getattr(settings, name)}")
    if settings.video_every < 0:
        raise UsageError(f"video_every must be 0 or more, got {settings.video_every}")
    if settings.seed < 0:
        raise UsageError(f"seed must be 0 or more, got {settings.seed}")
    if settings.match_parameters is not None and settings.match_parameters not in agents():
        raise UsageError(
            f"match_parameters must name a policy ({', '.join(agents())}), "
            f"got {settings.match_parameters!r}"
        )
    trainer = settings.trainer
    if settings.teacher is not None and trainer.kind != "supervised":
        raise UsageError("with a teacher, trainer.kind must be supervised; leave it out")
    for name in ("guided_steps", "opening"):
        if getattr(trainer, name) < 0:
            raise UsageError(f"trainer.{name} must be 0 or more, got {getattr(trainer, name)}")
    for name in ("n_steps", "batch_size", "n_epochs", "sequence_length"):
        if getattr(trainer, name) < 1:
            raise UsageError(f"trainer.{name} must be at least 1, got {getattr(trainer, name)}")
    if trainer.learning_rate <= 0:
        raise UsageError(f"trainer.learning_rate must be above 0, got {trainer.learning_rate}")
    if settings.policy in ("mlp", "lstm-stock"):
        return settings
    for name in ("n_steps", "batch_size"):
        if getattr(trainer, name) % trainer.sequence_length:
            raise UsageError(
                f"trainer.{name} ({getattr(trainer, name)}) must be a multiple of "
                f"trainer.sequence_length ({trainer.sequence_length})"
            )
    return settings
