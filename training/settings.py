"""Settings of a training run: the dataclass, its defaults in `configs/`, and the command line."""

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from spikepropamine import options
from spikepropamine.agents.zoo import OFF_POLICY, TrainerSettings, agents, concerned
from spikepropamine.common import (
    Parser,
    UsageError,
    bad_input,
    check_known,
    require,
    unknown,
)
from spikepropamine.envs import making
from spikepropamine.folder import RunFolder, find
from spikepropamine.options import (
    Count,
    Few,
    NotNegative,
    Number,
    Scalar,
    Seed,
    updated,
)
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.network import completed_network
from spikepropamine.reading import read_yaml
from spikepropamine.versions import import_modules, unless_imported

CONFIGS = Path(__file__).parent.parent / "configs"

# what may differ when a run is resumed
CHANGEABLE = {
    "resume", "overwrite", "runs", "steps", "n_envs", "checkpoint_every",
    "log_every", "threads", "device", "backend", "track", "tensorboard",
    "video_every", "eval_every", "imports", "trainer.workers", "trainer.cluster",
}  # fmt: skip
CHANGES_NO_NUMBER = CHANGEABLE - {
    "steps",
    "n_envs",
    "checkpoint_every",
    "device",
    "backend",
}
# what is not taken from the config.yaml of another run
OF_ONE_RUN = {
    "env", "policy", "seed", "imports", "runs", "resume", "overwrite", "start_from", "track",
}  # fmt: skip
CRITIC = ("critic", "critic_sees_spikes")
INITIAL = {"trainer.log_std_init"} | {f"network.{name}" for name in (
    "gain", "input_gain", "plasticity_gain", "modulator_gain", "membrane_decay", "trace_decay",
    "threshold_decay", "readout_decay", "eta",
)}  # fmt: skip
"""What is learned; where a policy starts from another, it has the values of that one."""
Sections = list[tuple[Path, dict[str, Any]]]  # files, and what their sections say
CUE = (
    2.0,
    0.35,
)  # share of the episodes at first; without it after this part of the training


@dataclass(frozen=True)
class Settings:
    """Trains a policy on an environment and leaves a run folder."""

    env: str
    """Id of a Gymnasium environment with Box or discrete spaces (`spikepropamine list envs`), or
    MODULE:ID of one that your own module registers."""
    policy: str
    """mlp, lstm, gru, lstm-stock, snn, rsnn, or dp-RULE or ndp-RULE with a RULE such as hebb, oja
    or bcm (`spikepropamine list policies` has all)."""
    imports: tuple[str, ...] = field(default=(), metadata={"flag": "import"})
    """Your own modules, which register environments, policies, rules or perturbations."""
    seed: Seed = 0
    """Of the weights, the exploration and the environments."""
    steps: Count = 1_000_000
    """Environment steps to train for."""
    n_envs: Few = 8
    """Environments stepped side by side."""
    env_kwargs: dict[str, Scalar] = field(default_factory=dict)
    """Arguments of the environment, as NAME VALUE pairs."""
    perturb: str | None = None
    """Train under perturbations, as in "mass=0.5..2 | obs_noise=0..0.2", or under those of a suite
    that training may use, by its name or file (`spikepropamine list perturbations`, `list
    suites`).
    Evaluation starts from the task without them."""
    previous: bool = False
    """Append the previous action and reward to the observation."""
    reveal: bool = False
    """Append what is hidden to the observation, contexts and the values of `--perturb`: for
    teachers, and to know what could be reached."""
    cue: tuple[NotNegative, ...] | None = None
    """SHARE STEPS: show the policy what is hidden in a share of the episodes that falls linearly to
    none over so many environment steps, and in no others; a share above 1 is 1 until it has fallen
    so far. Without numbers: 2, and a third of the training."""
    critic_told: bool = False
    """The critic observes what is hidden; the policy does not."""
    critic_first: Number = 0
    """Environment steps in which the critic alone learns, as after `--from` a taught policy."""
    teacher: Path | None = None
    """Learn from this policy (the folder of a run, or a name in `spikepropamine list trained`),
    which knows what is hidden: trained on the plain task (it is then told the context of a
    perturbed one), or with `--reveal`."""
    start_from: Path | None = field(default=None, metadata={"flag": "from"})
    """Start with the weights of this policy, named likewise."""
    normalize_observations: bool = False
    """Running mean and variance of observations (VecNormalize), where they are numbers (Box) and no
    pictures."""
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
    checkpoint_every: Count | None = None
    """Environment steps between checkpoints, at each of which all environments begin new episodes;
    50,000, or five of the longest episodes of each environment where that is more."""
    video_every: Number = 0
    """Environment steps between videos of the policy as it is, the last at the end; 0: none."""
    eval_every: Number = 0
    """Environment steps between evaluations of deterministic actions in environments of their own,
    the best policy of which is kept in the run folder `best`; 0: none."""
    log_every: Count | None = None
    """Rollouts between the tables printed to the console and the rows of progress.csv; 10, or so
    many that there are 20 rows."""
    track: Literal["off", "offline", "online"] = "off"
    """Track with Weights & Biases: offline, to look at here or upload later, or online."""
    tensorboard: bool = False
    """Write TensorBoard's event files to the run folder too."""
    threads: Few = 1
    """Threads that step the environments at the same time; pays where physics take long (Ant,
    Humanoid). The numbers are the same with any; PyTorch has one."""
    backend: Literal["auto", "numba", "reference"] = "auto"
    """What runs spiking layers; auto is the fastest that can."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where to train."""

    @property
    def how(self) -> tuple[bool, bool, str]:
        """Whether it is taught, whether it has a cue, and its kind, as `sections_of` takes them."""
        return self.teacher is not None, self.cue is not None, self.trainer.kind

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder.of(self.runs, self.env, self.policy, self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return options.plain(self)


def defaults(
    env: str,
    policy: str,
    taught: bool = False,
    cued: bool = False,
    kind: str = "ppo",
    config: Path | None = None,
) -> Settings:
    """Settings for an environment and a policy, before the command line.

    `configs/ENV.yaml` (or `default.yaml`) has sections, of which later ones win: `all`, a policy's
    family (`ndp`), the policy; then those of off-policy learning, `sac`, `sac-ndp` and so on (for
    TQC `tqc` after them), or of `evolution`; then `cue` (off-policy `sac-cue`) or `taught`. Those
    of its `base`, the name of another file, come before. A `config` of one's own comes last.
    """
    kind = "supervised" if taught else kind
    settings = updated(Settings(env=env, policy=policy), {"trainer": {"kind": kind}})
    file = CONFIGS / f"{env.replace('/', '-')}.yaml"
    if not file.is_file():
        file = CONFIGS / "default.yaml"
    settings = _in_sections(settings, with_bases(file, CONFIGS), taught, cued, kind)
    own = [] if config is None else _own_config(config, env, policy, taught, cued, kind)
    return _in_sections(settings, own, taught, cued, kind)


def matched(settings: Settings) -> Settings:
    """The defaults of the policy of `match_parameters`, learning in the same way."""
    return defaults(settings.env, str(settings.match_parameters), *settings.how)


def _in_sections(settings: Settings, files: Sections, *how: Any) -> Settings:
    """The settings with what the sections of files say, of which later ones win."""
    passes = sections_of(settings.policy, *how)
    for chosen, (file, sections) in itertools.product(passes, files):
        for name in chosen:
            if name in sections:
                section = sections[name]
                more = section.get("env_kwargs") if isinstance(section, dict) else None
                if isinstance(more, dict):
                    section = section | {"env_kwargs": settings.env_kwargs | more}
                settings = updated(settings, section, f"{file.name}, section {name}")
    return settings


def sections_of(policy: str, taught: bool, cued: bool, kind: str) -> list[list[str]]:
    """The names of the sections that concern a training, in the order in which they are read: pass
    by pass through all files.
    """
    names = list(dict.fromkeys(("all", policy.split("-")[0], policy)))
    ways = {"sac": ["sac"], "tqc": ["sac", "tqc"], "evolution": ["evolution"]}.get(
        kind, []
    )
    if taught or cued:
        ways.append("taught" if taught else "sac-cue" if kind in OFF_POLICY else "cue")
    return [names, *([way, *(f"{way}-{name}" for name in names[1:])] for way in ways)]


def _own_config(file: Path, env: str, policy: str, *how: Any) -> Sections:
    """The sections of a file: as in `configs/`, as `tune` leaves in best.yaml, or the settings in
    the config.yaml of a run, but for what names and places it. Raises UsageError where it has
    nothing for this policy, learning so (`how`: as for `sections_of`).
    """
    content = read_yaml(file)
    if isinstance(content, dict) and "settings" in content:
        learned = _read_config(file)
        if (learned.get("env"), learned.get("policy")) != (env, policy):
            raise UsageError(
                f"{file} is of {learned.get('policy')} on {learned.get('env')}"
            )
        return [
            (file, {"all": {k: v for k, v in learned.items() if k not in OF_ONE_RUN}})
        ]
    files = with_bases(file, CONFIGS)
    names = set(itertools.chain(*sections_of(policy, *how)))
    if not any(names & sections.keys() for _, sections in files):
        found = ", ".join(map(str, files[-1][1]))
        raise UsageError(
            f"{file} has no section for {policy}, only {found or 'nothing'}"
        )
    return files


def with_bases(file: Path, folder: Path) -> Sections:
    """A file with sections, and before it its `base`, a name in the folder, and the base's own.
    Raises UsageError: a file that cannot be read or has no sections, or that is its own base.
    """
    files: dict[Path, dict[str, Any]] = {}
    part: Path | None = file
    while part is not None:
        if part in files:
            raise UsageError(f"{part.name} is its own base")
        content = files[part] = read_yaml(part)
        if not isinstance(content, dict):
            raise UsageError(
                f"{part}: must have sections such as `all`, got {content!r:.60}"
            )
        part = folder / f"{content['base']}.yaml" if "base" in content else None
    return [*files.items()][::-1]


def parse(arguments: Sequence[str], program: str = "spikepropamine train") -> Settings:
    """Settings out of the arguments of a command, over the defaults in `configs/`; `program` is how
    its name was typed. Raises UsageError: what is wrong with them; SystemExit after --help.
    """
    helping, values = (
        "--help" in arguments or "-h" in arguments,
        _read(arguments, program),
    )
    env, policy, config = (
        values.pop(name, None) for name in ("env", "policy", "config")
    )
    env, modules = (None, []) if env is None else making.split_env(env)
    imports = tuple(dict.fromkeys([*values.get("imports", ()), *modules]))
    import_modules(imports)
    for option, known in (
        ("--env CueAssociation-v0", env),
        ("--policy ndp-oja", policy),
    ):
        if not known and not helping:
            raise UsageError(f"{option.split()[0]} is missing, for instance {option}")
    if env is not None:
        making.check_env_id(env, imports)
    if policy is not None and policy not in agents():
        raise UsageError(unknown("policy", policy, agents()) + unless_imported())
    taught, cued = "teacher" in values, "cue" in values
    kind = values.get("trainer", {}).get("kind")
    config = None if helping or config is None else Path(config)
    named = env or "ENV", policy or "POLICY"
    settings = defaults(*named, taught, cued, kind or "ppo", config)
    if (
        config is not None
    ):  # which may say how it is learned, too: that has sections in `configs/`
        taught, cued = (
            taught or settings.teacher is not None,
            cued or settings.cue is not None,
        )
        settings = defaults(*named, taught, cued, kind or settings.trainer.kind, config)
    if helping:
        settings = updated(
            settings, {"trainer": {"kind": kind or settings.trainer.kind}}
        )
        _parser(settings, program, policy, taught).parse_args(["--help"])
    for name, option in (("teacher", "teacher"), ("start_from", "from")):
        if (folder := values.get(name, getattr(settings, name))) is not None:
            values[name] = _named(option, folder)
    if "start_from" in values:
        settings = _started(settings, values["start_from"])
    values |= {"env": env, "policy": policy, "imports": imports}
    given = _over(settings, values)
    _check_given(given, values)
    old = given.folder.config
    if not given.resume or not old.is_file():
        return validated(given)
    # the folder may be a stranger's: nothing that it says decides where is written
    stored = replace(updated(settings, _read_config(old), old.name), overwrite=False)
    check_known("policy", stored.policy, agents(), f"{old}: ")
    then = stored.as_dict()
    if config is not None:
        own = _own_config(config, stored.env, stored.policy, *stored.how)
        stored = _in_sections(stored, own, *stored.how)
    resumed = validated(
        _over(stored, values | {"runs": given.runs, "seed": given.seed})
    )
    # the name of the policy has had its say, too
    network = agents()[stored.policy].network(resumed.network)
    if (
        stored.match_parameters is not None
    ):  # the widths that were given have been scaled
        network = replace(network, hidden=tuple(then["network"]["hidden"]))
    resumed = replace(resumed, network=network)
    check_unchanged(then, resumed.as_dict())
    return resumed


def check_unchanged(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UsageError where settings differ that cannot change when a run is resumed."""
    then, now = options.flat(then), options.flat(now)
    for name, old in then.items():
        if name in CHANGEABLE or name not in now or now[name] == old:
            continue
        new, (outer, dot, inner) = now[name], name.partition(".")
        option = options.flag(Settings.__dataclass_fields__[outer])
        option += f"{dot}{inner}".replace("_", "-")
        if name == "env_kwargs":
            key = next(k for k in [*old, *new] if old.get(k) != new.get(k))
            old, new, option = old.get(key), new.get(key), f"{option} {key}"
        never = "it cannot change when a run is resumed; a new one can have its weights (--from)"
        raise UsageError(
            f"{option} was {old!r} when the run was made, and is {new!r} now: {never}"
        )


def _check_given(settings: Settings, values: Mapping[str, Any]) -> None:
    """Raises UsageError where what the command line says contradicts itself or the policy."""
    if values.get("resume") and values.get("overwrite"):
        raise UsageError(
            "--resume goes on with a run and --overwrite replaces it; give one"
        )
    policy, network = settings.policy, values.get("network", {})
    agent = agents()[policy]
    for name in ("rule", "modulation"):
        meant = getattr(agent.network(settings.network), name)
        if network.get(name, meant) != meant:
            others = "`spikepropamine list policies` has the others"
            given = f"--network.{name} {network[name]}"
            raise UsageError(f"{given}: that of {policy} is {meant}; {others}")
    widths = network.get("hidden", ())
    if agent.one_width and len(set(widths)) > 1:
        given = f"--network.hidden {' '.join(map(str, widths))}"
        raise UsageError(f"{given}: {policy} has one layer; give one width")


def without_effect(settings: Settings, arguments: Sequence[str]) -> list[str]:
    """The options of a command line that `parse` has read and that change nothing, since they do
    not concern the policy, or initial values of one that starts from another.
    """
    values, matters = _read(arguments, ""), has_effect(settings)
    values.pop("config", None)
    inner = [
        f"{part}.{name}"
        for part in ("network", "trainer")
        for name in values.get(part, {})
    ]
    return [
        f"--{name}".replace("_", "-") for name in (*values, *inner) if not matters(name)
    ]


def has_effect(settings: Settings) -> Callable[[str], bool]:
    """Whether a setting, by its dotted name, has an effect in a training with such settings."""
    matters = concerned(
        settings.policy, settings.teacher is not None, settings.trainer.kind
    )
    started = settings.start_from is not None and settings.trainer.kind != "evolution"
    return lambda name: matters(name) and not (started and name in INITIAL)


def _read(arguments: Sequence[str], program: str) -> dict[str, Any]:
    """What a command line says, by the names of the settings, without --help."""
    asked = [word for word in arguments if word not in ("-h", "--help")]
    return options.parsed(
        _parser(Settings("ENV", "POLICY"), program, None, False), asked
    )


def _named(option: str, name: Path) -> Path:
    """The folder of a policy that an option names, relative to the working folder if it is below
    it, so that a configuration is of no particular machine.
    """
    with bad_input(f"--{option}", UsageError):
        folder, here = find(name), Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _started(settings: Settings, folder: Path) -> Settings:
    """Settings with what a policy to start from cannot do without: its networks, and whether it
    observes normalised numbers.
    """
    with bad_input(f"--from {folder}", FileNotFoundError):
        metadata = load_policy(RunFolder(folder).policy).metadata
    try:
        learned = completed(metadata["settings"])
        kept = {name: learned[name] for name in ("network", "normalize_observations")}
        kept["trainer"] = {name: learned["trainer"][name] for name in CRITIC}
    except (KeyError, TypeError, AttributeError) as error:
        why = "its policy does not say how it was trained; --from takes runs of `train`"
        raise UsageError(f"--from {folder}: {why}") from error
    return updated(settings, kept, f"--from {folder}")


def _parser(
    settings: Settings, program: str, policy: str | None, taught: bool
) -> Parser:
    """The command line, whose defaults are `settings`; --help shows what concerns the policy."""
    more = "`--help` with `--policy NAME` shows the settings of that policy and of its training."
    if policy is not None:
        whose = "with defaults of `configs/` for --env and --policy"
        more = f"Shown is what concerns {policy}, {whose}."
    parser = Parser(
        program,
        usage=f"{program} --env ID --policy NAME [OPTION VALUE ...]",
        description="Trains a policy on an environment and leaves a run folder.",
        epilog=more,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="settings in sections, as in configs/ENV.yaml or best.yaml of `tune`, or the "
        "config.yaml of a run; options win over it",
    )
    if policy is None:
        options.add_options(parser, settings, lambda name: "." not in name)
        return parser
    # its name has a say in what is used
    settings = replace(settings, network=agents()[policy].network(settings.network))
    options.add_options(
        parser, settings, concerned(policy, taught, settings.trainer.kind)
    )
    return parser


def _over(settings: Settings, values: dict[str, Any]) -> Settings:
    """Settings with those of the command line laid over them."""
    values = dict(values)
    if "env_kwargs" in values:
        values["env_kwargs"] = settings.env_kwargs | values["env_kwargs"]
    network = values["network"] = dict(values.get("network", {}))
    widths, ignored = network.get("hidden", ()), agents()[settings.policy].ignores
    for name in ("plastic", "recurrent"):
        if len(widths) > 1 and f"network.{name}" in ignored:
            network.setdefault(name, (False,) * len(widths))
    if values.get("cue") == []:
        steps = updated(settings, {"steps": values.get("steps", settings.steps)}).steps
        values["cue"] = settings.cue or (CUE[0], CUE[1] * steps)
    return updated(settings, values)


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, with what older ones do not say, as it was before there was a choice, and
    without what is no option any more.
    """
    known, later = Settings.__dataclass_fields__, options.plain(TrainerSettings())
    trainer = {
        name: settings["trainer"].get(name, value) for name, value in later.items()
    }
    return {name: value for name, value in settings.items() if name in known} | {
        "network": completed_network(settings["network"]),
        "trainer": trainer,
    }


def _read_config(file: Path) -> dict[str, Any]:
    """The settings that a run was started with."""
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
    trainer = settings.trainer
    if settings.cue is not None and (settings.reveal or len(settings.cue) != 2):
        why = (
            "leave out --reveal"
            if settings.reveal
            else "it takes a share and steps, as 0.7 1e6"
        )
        raise UsageError(f"--cue: {why}")
    if trainer.kind == "evolution":
        require("evotorch", "evolution", "--trainer.kind evolution")
        if settings.cue is not None or settings.critic_told:
            given = "--critic-told" if settings.cue is None else "--cue"
            raise UsageError(f"{given} is for learning by gradients, not for evolution")
        if settings.device == "cuda":
            raise UsageError("evolution runs on processors; use --device cpu")
    drawn = settings.n_envs * (trainer.burn_in + trainer.sequence_length + 1)
    for name, steps in (
        ("learning-starts", trainer.learning_starts),
        ("sequence-length", drawn),
    ):
        if trainer.kind in OFF_POLICY and settings.steps <= steps:
            why = f"more than {steps:,} steps, or less --trainer.{name}"
            raise UsageError(
                f"--steps {settings.steps:,}: to learn something it takes {why}"
            )
    if settings.critic_first and trainer.kind != "ppo":
        raise UsageError("--critic-first is for trainer.kind ppo")
    if settings.teacher is not None and trainer.kind != "supervised":
        raise UsageError(
            "with a teacher, trainer.kind must be supervised; leave it out"
        )
    return settings
