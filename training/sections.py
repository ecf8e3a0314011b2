"""Defaults of the settings: sections of the configurations in `configs/`, and of your
own.

`configs/ENV.yaml` (or `default.yaml`) has sections, of which later ones win: `all`, a
policy's family (`ndp`), the policy; then those of the algorithm (`Algorithm.sections`),
as `sac`, `sac-ndp` and so on; then those with a cue (`cue`, off-policy `sac-cue`) or a
teacher (`taught`). Those of its `base`, the name of another file, come before.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikepropamine.agents.algorithms import ALGORITHMS, TAUGHT
from spikepropamine.agents.zoo import agents
from spikepropamine.common import UsageError
from spikepropamine.options import flat, updated
from spikepropamine.reading import read_yaml
from spikepropamine.training.settings import OF_ONE_RUN, Settings, read_config

CONFIGS = Path(__file__).parent.parent / "configs"

Sections = dict[str, Any]
Files = list[tuple[Path, Sections]]
"""Files, each with its sections, of which later ones win."""


@dataclass(frozen=True)
class Way:
    """How a policy learns, which decides what sections concern it."""

    kind: str = "ppo"
    """Name of the algorithm."""
    taught: bool = False
    """Whether there is a teacher."""
    cued: bool = False
    """Whether there is a cue."""

    @classmethod
    def of(cls, settings: Settings) -> "Way":
        """How a training with these settings learns."""
        return cls(
            kind=settings.trainer.kind,
            taught=settings.teacher is not None,
            cued=settings.cue is not None,
        )


def is_configured(env: str) -> bool:
    """Whether a task, by its id, has a configuration of its own."""
    return _file_of(env).is_file()


def _file_of(env: str) -> Path:
    return CONFIGS / f"{env.replace('/', '-')}.yaml"


def defaults(
    env: str,
    policy: str,
    taught: bool = False,
    cued: bool = False,
    kind: str = "ppo",
    config: Path | None = None,
) -> Settings:
    """Settings for an environment and a policy, before the command line.

    Args:
        env: id of the environment.
        policy: name of the policy.
        taught: whether there is a teacher.
        cued: whether there is a cue.
        kind: name of the algorithm; with a teacher it is supervised.
        config: a file of the user's, which comes last.

    Raises:
        UsageError: a file that cannot be read, or a setting that cannot be.
    """
    way = Way(TAUGHT if taught else kind, taught, cued)
    settings = Settings(env=env, policy=policy)
    settings = updated(settings, {"trainer": {"kind": way.kind}})
    file = _file_of(env) if is_configured(env) else CONFIGS / "default.yaml"
    settings = with_sections(settings, with_bases(file, CONFIGS), way)
    if config is None:
        return settings
    return with_sections(settings, users_files(config, env, policy, way), way)


def matched(settings: Settings) -> Settings:
    """The defaults of the policy of `match_parameters`, learning in the same way."""
    way = Way.of(settings)
    other = str(settings.match_parameters)
    return defaults(settings.env, other, way.taught, way.cued, way.kind)


def with_sections(settings: Settings, files: Files, way: Way) -> Settings:
    """The settings with what the sections of files say, pass by pass through all files.

    Args:
        settings: to begin with.
        files: with their sections.
        way: how the policy learns.
    """
    passes = sections_of(settings.policy, way)
    for names, (file, sections) in itertools.product(passes, files):
        for name in names:
            if name in sections:
                where = f"{file.name}, section {name}"
                settings = _with_section(settings, sections[name], where)
    return settings


def _with_section(settings: Settings, section: Any, where: str) -> Settings:
    """The settings with what one section says; arguments of the environment add up."""
    arguments = section.get("env_kwargs") if isinstance(section, dict) else None
    if isinstance(arguments, dict):
        section = section | {"env_kwargs": settings.env_kwargs | arguments}
    return changed(settings, section, where)


def changed(settings: Settings, values: Any, where: str | None = None) -> Settings:
    """The settings with others laid over them; where these change the number of layers,
    what does not concern the policy has as many entries.

    Args:
        settings: to begin with.
        values: that are laid over them, nested.
        where: they come from, for messages; None: the command line.

    Raises:
        UsageError: as of `updated`.
    """
    network = values.get("network") if isinstance(values, Mapping) else None
    if isinstance(network, Mapping):
        widths = network.get("hidden")
        layers = len(widths) if isinstance(widths, list | tuple) else 0
        ignored = agents()[settings.policy].ignores
        # for each layer, one such setting is as good as another
        spare = {
            name: (False,) * layers
            for name in ("plastic", "recurrent")
            if layers > 1 and f"network.{name}" in ignored
        }
        values = {**values, "network": {**spare, **network}}
    return updated(settings, values, where)


def names_of(policy: str) -> list[str]:
    """The sections that concern a policy however it learns: of all, its family, its
    own.
    """
    family = policy.split("-")[0]
    return list(dict.fromkeys(("all", family, policy)))


def sections_of(policy: str, way: Way) -> list[list[str]]:
    """The names of the sections that concern a training, in the order in which they are
    read: pass by pass through all files.

    Args:
        policy: name of the policy.
        way: how it learns.
    """
    algorithm = ALGORITHMS[way.kind]
    prefixes = list(algorithm.sections)
    if way.taught:
        prefixes.append("taught")
    elif way.cued:
        prefixes.append(algorithm.cue_section)
    plain = names_of(policy)
    passes = [plain]
    for prefix in prefixes:
        passes.append([prefix, *(f"{prefix}-{name}" for name in plain[1:])])
    return passes


def users_files(file: Path, env: str, policy: str, way: Way) -> Files:
    """The sections of a user's file: as in `configs/`, as `tune` leaves in best.yaml,
    or the settings in the config.yaml of a run, but for what names and places it.

    Args:
        file: its path.
        env: id of the environment.
        policy: name of the policy.
        way: how it learns.

    Raises:
        UsageError: it has nothing for this policy, learning in this way.
    """
    content = read_yaml(file)
    if isinstance(content, dict) and "settings" in content:
        return [(file, {"all": _of_run(file, env, policy)})]
    files = with_bases(file, CONFIGS)
    names = set(itertools.chain(*sections_of(policy, way)))
    if not any(names & sections.keys() for _, sections in files):
        _, sections = files[-1]
        there = ", ".join(map(str, sections)) or "nothing"
        raise UsageError(f"{file} has no section for {policy}, only {there}")
    return files


def named_by(file: Path, env: str, policy: str, way: Way) -> set[str]:
    """The settings that a user's file has for a policy, by dotted name.

    Args:
        file: its path.
        env: id of the environment.
        policy: name of the policy.
        way: how it learns.

    Raises:
        UsageError: as of `users_files`.
    """
    concerned = set(itertools.chain(*sections_of(policy, way)))
    names: set[str] = set()
    for _, contents in users_files(file, env, policy, way):
        for name, section in contents.items():
            if name in concerned and isinstance(section, dict):
                names |= flat(section).keys()
    return names


def _of_run(file: Path, env: str, policy: str) -> Sections:
    """The settings in the config.yaml of a run, but for what names and places it."""
    learned = read_config(file)
    if (learned.get("env"), learned.get("policy")) != (env, policy):
        raise UsageError(
            f"{file} is of {learned.get('policy')} on {learned.get('env')}"
        )
    return {name: value for name, value in learned.items() if name not in OF_ONE_RUN}


def with_bases(file: Path, folder: Path) -> Files:
    """A file with sections, and before it its `base`, and the base of that one.

    Args:
        file: its path.
        folder: in which bases are.

    Raises:
        UsageError: a file that cannot be read or has no sections, or that is its own
            base.
    """
    files: dict[Path, Sections] = {}
    part: Path | None = file
    while part is not None:
        if part in files:
            raise UsageError(f"{part.name} is its own base")
        content = read_yaml(part)
        if not isinstance(content, dict):
            raise UsageError(
                f"{part}: must have sections such as `all`, got {content!r:.60}"
            )
        files[part] = content
        part = folder / f"{content['base']}.yaml" if "base" in content else None
    return list(reversed(files.items()))
