"""The command line of a training: settings out of its arguments, over the defaults."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikepropamine import options
from spikepropamine.agents.zoo import agents, concerned
from spikepropamine.common import (
    Parser,
    UsageError,
    bad_input,
    check_known,
    unknown,
)
from spikepropamine.envs import making
from spikepropamine.folder import RunFolder, find
from spikepropamine.options import updated
from spikepropamine.policies.export import load_policy
from spikepropamine.training import own_task, sections
from spikepropamine.training.sections import Way
from spikepropamine.training.settings import (
    Settings,
    check_unchanged,
    completed,
    has_effect,
    read_config,
    validated,
    with_network_of_policy,
)
from spikepropamine.versions import import_modules, unless_imported

FIRST_SHARE = 2.0
"""Of episodes with a cue at first, where `--cue` has no numbers."""
PART_WITH_CUE = 0.35
"""Of the training, after which no episode has a cue then."""
CRITIC = ("critic", "critic_sees_spikes")
"""Of the trainer's settings, those of the networks that `--from` takes over."""


@dataclass(frozen=True)
class _Request:
    """What a command line says, before defaults are known."""

    env: str | None
    policy: str | None
    config: Path | None
    values: dict[str, Any]
    """All else that is given, by the names of the settings."""

    @property
    def kind(self) -> str | None:
        """The algorithm that is given."""
        return self.values.get("trainer", {}).get("kind")


def parse(arguments: Sequence[str], program: str = "spikepropamine train") -> Settings:
    """Settings out of the arguments of a command, over the defaults in `configs/`.

    Args:
        arguments: as they were typed.
        program: how the name of the command was typed.

    Raises:
        UsageError: what is wrong with them.
        SystemExit: after --help.
    """
    request = _read_request(arguments, program)
    helping = "--help" in arguments or "-h" in arguments
    if not helping:
        _check_complete(request)
    _check_names(request)
    if helping:
        _print_help(request, program)
    env = str(request.env)
    policy = str(request.policy)
    settings = _defaults(request, env, policy)
    values = request.values | {"env": env, "policy": policy}
    for name, option in (("teacher", "teacher"), ("start_from", "from")):
        folder = values.get(name, getattr(settings, name))
        if folder is not None:
            values[name] = _folder_of(option, folder)
    if "start_from" in values:
        settings = _started(settings, values["start_from"])
    given = _over(settings, values)
    _check_given(given, request.values)
    if given.resume and given.folder.config.is_file():
        return _resumed(settings, given, values, request.config)
    return validated(own_task.fitted(given, _named(request, given)))


def _named(request: _Request, settings: Settings) -> set[str]:
    """The settings that the command line and the user's configuration give, by dotted
    name.
    """
    names = set(options.flat(request.values))
    if request.config is not None:
        way = Way.of(settings)
        names |= sections.named_by(request.config, settings.env, settings.policy, way)
    return names


def _read_request(arguments: Sequence[str], program: str) -> _Request:
    """What a command line says; imports the user's modules that it names."""
    values = _read(arguments, program)
    env = values.pop("env", None)
    policy = values.pop("policy", None)
    config = values.pop("config", None)
    modules: list[str] = []
    if env is not None:
        env, modules = making.split_env(env)
    imports = tuple(dict.fromkeys([*values.get("imports", ()), *modules]))
    import_modules(imports)
    values["imports"] = imports
    return _Request(env, policy, None if config is None else Path(config), values)


def _check_complete(request: _Request) -> None:
    """Raises UsageError where task or policy are missing."""
    if not request.env:
        raise UsageError("--env is missing, for instance --env CueAssociation-v0")
    if not request.policy:
        raise UsageError("--policy is missing, for instance --policy ndp-oja")


def _check_names(request: _Request) -> None:
    """Raises UsageError where there is no such task or policy."""
    if request.env is not None:
        making.check_env_id(request.env, request.values["imports"])
    if request.policy is not None and request.policy not in agents():
        raise UsageError(
            unknown("policy", request.policy, agents()) + unless_imported()
        )


def _defaults(request: _Request, env: str, policy: str) -> Settings:
    """The defaults of what is requested, the user's configuration included."""
    taught = "teacher" in request.values
    cued = "cue" in request.values
    kind = request.kind or "ppo"
    settings = sections.defaults(env, policy, taught, cued, kind, request.config)
    if request.config is None:
        return settings
    # the configuration may say how the policy learns: that has sections in `configs/`
    taught = taught or settings.teacher is not None
    cued = cued or settings.cue is not None
    kind = request.kind or settings.trainer.kind
    return sections.defaults(env, policy, taught, cued, kind, request.config)


def _print_help(request: _Request, program: str) -> None:
    """Prints what concerns the policy. Raises SystemExit."""
    taught = "teacher" in request.values
    cued = "cue" in request.values
    env = request.env or "ENV"
    policy = request.policy or "POLICY"
    settings = sections.defaults(env, policy, taught, cued, request.kind or "ppo")
    kind = request.kind or settings.trainer.kind
    settings = updated(settings, {"trainer": {"kind": kind}})
    _parser(settings, program, request.policy, taught).parse_args(["--help"])


def _resumed(
    defaults: Settings, given: Settings, values: dict[str, Any], config: Path | None
) -> Settings:
    """The settings of the run that is to be resumed, with what may change as it is
    given.

    Args:
        defaults: the settings before the command line.
        given: the settings as of a new run.
        values: what the command line says.
        config: the user's configuration.
    """
    # the folder may be a stranger's: nothing that it says decides where is written
    file = given.folder.config
    stored = updated(defaults, read_config(file), file.name)
    stored = replace(stored, overwrite=False)
    check_known("policy", stored.policy, agents(), f"{file}: ")
    configured = stored
    if config is not None:
        way = Way.of(stored)
        files = sections.users_files(config, stored.env, stored.policy, way)
        configured = sections.with_sections(stored, files, way)
    its_place = {"runs": given.runs, "seed": given.seed}
    return as_made(stored, validated(_over(configured, values | its_place)))


def going_on(settings: Settings) -> Settings:
    """The settings with which a run goes on that may be there, where all are known.

    Args:
        settings: as of a new run, but with `resume`.

    Raises:
        UsageError: the run was made with others that cannot change.
    """
    file = settings.folder.config
    if not file.is_file():
        return settings
    stored = updated(settings, read_config(file), file.name)
    return as_made(stored, settings)


def as_made(stored: Settings, settings: Settings) -> Settings:
    """Settings to go on with, with the network that the run was made with: what the
    policy's name makes of it, and scaled widths.

    Args:
        stored: those that the run was made with.
        settings: those to go on with.

    Raises:
        UsageError: they differ in what cannot change.
    """
    resumed = with_network_of_policy(settings)
    if stored.match_parameters is not None:
        widths = stored.network.hidden
        resumed = replace(resumed, network=replace(resumed.network, hidden=widths))
    check_unchanged(stored.as_dict(), resumed.as_dict())
    return resumed


def _check_given(settings: Settings, values: Mapping[str, Any]) -> None:
    """Raises UsageError where what the command line says contradicts itself or the
    policy.
    """
    if values.get("resume") and values.get("overwrite"):
        raise UsageError(
            "--resume goes on with a run and --overwrite replaces it; give one"
        )
    policy = settings.policy
    network = values.get("network", {})
    meant = with_network_of_policy(settings).network
    for name in ("rule", "modulation"):
        right = getattr(meant, name)
        wrong = network.get(name, right)
        if wrong != right:
            raise UsageError(
                f"--network.{name} {wrong}: that of {policy} is {right}; "
                "`spikepropamine list policies` has the others"
            )
    widths = network.get("hidden", ())
    if agents()[policy].one_width and len(set(widths)) > 1:
        raise UsageError(
            f"--network.hidden {' '.join(map(str, widths))}: {policy} has one layer; "
            "give one width"
        )


def without_effect(settings: Settings, arguments: Sequence[str]) -> list[str]:
    """The options of a command line that change nothing, since they do not concern the
    policy, or are initial values of one that starts from another.

    Args:
        settings: what `parse` made of the command line.
        arguments: as they were typed.
    """
    values = _read(arguments, "")
    values.pop("config", None)
    names = list(values)
    for part in ("network", "trainer"):
        names += [f"{part}.{name}" for name in values.get(part, {})]
    matters = has_effect(settings)
    return [f"--{name}".replace("_", "-") for name in names if not matters(name)]


def _read(arguments: Sequence[str], program: str) -> dict[str, Any]:
    """What a command line says, by the names of the settings, without --help."""
    without_help = [word for word in arguments if word not in ("-h", "--help")]
    parser = _parser(Settings("ENV", "POLICY"), program, None, False)
    return options.parsed(parser, without_help)


def _folder_of(option: str, name: Path) -> Path:
    """The folder of a policy that an option names, relative to the working folder if it
    is below it, so that a configuration is of no particular machine.
    """
    with bad_input(f"--{option}", UsageError):
        folder = find(name)
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _started(settings: Settings, folder: Path) -> Settings:
    """Settings with what a policy to start from cannot do without: its networks, and
    whether it observes normalised numbers.
    """
    with bad_input(f"--from {folder}", FileNotFoundError):
        metadata = load_policy(RunFolder(folder).policy).metadata
    try:
        learned = completed(metadata["settings"])
        kept = {
            "network": learned["network"],
            "normalize_observations": learned["normalize_observations"],
            "trainer": {name: learned["trainer"][name] for name in CRITIC},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--from {folder}: its policy does not say how it was trained; --from "
            "takes runs of `train`"
        ) from error
    return updated(settings, kept, f"--from {folder}")


def _parser(
    settings: Settings, program: str, policy: str | None, taught: bool
) -> Parser:
    """The command line, whose defaults are `settings`; --help shows what concerns the
    policy.
    """
    epilog = (
        "`--help` with `--policy NAME` shows the settings of that policy and of its "
        "training."
    )
    if policy is not None:
        epilog = (
            f"Shown is what concerns {policy}, with defaults of `configs/` for --env "
            "and --policy."
        )
    parser = Parser(
        program,
        usage=f"{program} --env ID --policy NAME [OPTION VALUE ...]",
        description="Trains a policy on an environment and leaves a run folder.",
        epilog=epilog,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="settings in sections, as in configs/ENV.yaml or best.yaml of `tune`, or "
        "the config.yaml of a run; options win over it",
    )
    if policy is None:
        options.add_options(parser, settings, lambda name: "." not in name)
        return parser
    settings = with_network_of_policy(settings)
    matters = concerned(policy, taught, settings.trainer.kind)
    options.add_options(parser, settings, matters)
    return parser


def _over(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Settings with those of the command line laid over them."""
    values = dict(values)
    if "env_kwargs" in values:
        values["env_kwargs"] = settings.env_kwargs | values["env_kwargs"]
    if values.get("cue") == []:
        steps = updated(settings, {"steps": values.get("steps", settings.steps)}).steps
        values["cue"] = settings.cue or (FIRST_SHARE, PART_WITH_CUE * steps)
    return sections.changed(settings, values)
