"""Going on with a run."""

import sys

from stable_baselines3.common.base_class import BaseAlgorithm

from spikepropamine.common import UsageError
from spikepropamine.own_modules import code_of
from spikepropamine.training.checkpoints import CannotRestore, Checkpoint, latest, restore
from spikepropamine.training.settings import Settings, check_unchanged, completed
from spikepropamine.versions import digests_of, versions

DECISIVE = ("n_envs", "backend", "device", "checkpoint_every")
"""Settings that may change, but not without changing every number from there on."""


def resume(algorithm: BaseAlgorithm, settings: Settings) -> Checkpoint:
    """Makes a new algorithm the one that was interrupted, and says what would make its numbers
    others than those of a run that was not.

    Returns:
        The checkpoint that it goes on from.

    Raises:
        UsageError: it cannot be the same.
    """
    checkpoint = latest(settings.folder.checkpoints, lambda line: print(line, file=sys.stderr))
    assert checkpoint is not None  # the caller has seen one
    check_unchanged(completed(checkpoint.settings), settings.as_dict())
    assert algorithm.env is not None
    try:
        # `learn` would reset, and statistics would take in what it shows; `Checkpoints` does it
        algorithm._last_obs = algorithm.env.reset()  # type: ignore[assignment]
        restore(algorithm, checkpoint.state)
    except CannotRestore as error:
        raise UsageError(f"cannot resume {settings.folder.path}: {error}") from error
    if checkpoint.steps < settings.steps:  # otherwise nothing is left that could differ
        for line in _changes(checkpoint, settings):
            print(f"from here on the numbers are not those of one run: {line}", file=sys.stderr)
    return checkpoint


def contents_of(settings: Settings) -> dict[str, str]:
    """Digests of the files, policies and own modules that a training depends on, by what is said
    of them.
    """
    texts = [settings.perturb, settings.teacher, *settings.env_kwargs.values()]
    digests = digests_of(str(text) for text in texts if text is not None)
    contents = {f"the content of {text}": digest for text, digest in digests.items()}
    contents |= {f"the code of {name}": of for name, of in code_of(settings.imports).items()}
    return {name: digest[:12] for name, digest in contents.items()}


def _changes(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """What makes the numbers others than those of a run that was never interrupted."""
    now, lines = versions() | contents_of(settings), []
    for name, version in checkpoint.versions.items():
        if name != "revision" and now.get(name) != version:
            lines.append(f"{name} was {version}, and is {now.get(name)} now")
    for name in DECISIVE:
        then = checkpoint.settings.get(name)
        if then != getattr(settings, name):
            lines.append(f"{name} was {then}, and is {getattr(settings, name)} now")
    then = checkpoint.settings["steps"]
    if then != settings.steps and settings.trainer.learning_rate_schedule == "linear":
        lines.append(
            f"the learning rate fell to zero over {then:,} steps, and does over "
            f"{settings.steps:,} now"
        )
    return lines
