"""What a training goes on from: its last checkpoint, or the weights of another
policy.
"""

import sys
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from spikepropamine.agents.algorithms import ALGORITHMS
from spikepropamine.agents.cue import Shown, shown
from spikepropamine.common import UsageError, bad_input
from spikepropamine.folder import RunFolder
from spikepropamine.policies.actors import Squashed
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy, widen
from spikepropamine.training import checkpoints
from spikepropamine.training.callbacks import longest_episode
from spikepropamine.training.checkpoints import Checkpoint
from spikepropamine.training.settings import Settings, check_unchanged, completed
from spikepropamine.versions import code_of, digests_of, versions

DECISIVE = ("n_envs", "backend", "device", "checkpoint_every")
"""Settings that may change, but not without changing every number from there on."""


def resume(algorithm: BaseAlgorithm, settings: Settings) -> Checkpoint:
    """Makes a new algorithm the one that was interrupted, and says what would make its
    numbers others than those of a run that was not.

    Args:
        algorithm: made with these settings.
        settings: of the training.

    Returns:
        The checkpoint that it goes on from.

    Raises:
        UsageError: it cannot be the same.
    """
    checkpoint = checkpoints.latest(settings.folder.checkpoints)
    check_unchanged(completed(checkpoint.settings), settings.as_dict())
    assert algorithm.env is not None
    # `learn` would reset, and statistics would take in what it shows; `Checkpoints`
    # does it
    algorithm._last_obs = algorithm.env.reset()  # type: ignore[assignment]
    with bad_input(f"cannot resume {settings.folder.path}"):
        checkpoints.restore(algorithm, checkpoint.state)
    if checkpoint.steps < settings.steps:  # otherwise nothing is left that could differ
        for line in _changes(checkpoint, settings, algorithm):
            print(
                f"from here on the numbers are not those of one run: {line}",
                file=sys.stderr,
            )
    return checkpoint


def contents_of(settings: Settings) -> dict[str, str]:
    """Digests of the files, policies and the user's modules that a training depends on,
    by what is said of them.
    """
    contents = {}
    texts = [settings.perturb, settings.teacher, *settings.env_kwargs.values()]
    digests = digests_of(str(text) for text in texts if text is not None)
    for text, digest in digests.items():
        contents[f"the content of {text}"] = digest[:12]
    for module, digest in code_of(settings.imports).items():
        contents[f"the code of {module}"] = digest[:12]
    return contents


def _changes(
    checkpoint: Checkpoint, settings: Settings, algorithm: BaseAlgorithm
) -> list[str]:
    """What makes the numbers others than those of a run that was never interrupted."""
    lines = []
    now = versions() | contents_of(settings)
    for name, version in checkpoint.versions.items():
        if name != "revision" and now.get(name) != version:
            lines.append(f"{name} was {version}, and is {now.get(name)} now")
    before = checkpoint.settings
    for name in DECISIVE:
        value = getattr(settings, name)
        if before.get(name) != value:
            lines.append(f"{name} was {before.get(name)}, and is {value} now")
    planned = before["steps"]
    if checkpoint.steps >= planned and not _is_between(checkpoint, settings, algorithm):
        lines.append(
            f"the training had ended at step {checkpoint.steps:,}, and new episodes "
            "begin there"
        )
    falls = settings.trainer.learning_rate_schedule == "linear"
    if falls and planned != settings.steps:
        lines.append(
            f"the learning rate fell to zero over {planned:,} steps, and does over "
            f"{settings.steps:,} now"
        )
    return lines


def _is_between(
    checkpoint: Checkpoint, settings: Settings, algorithm: BaseAlgorithm
) -> bool:
    """Whether new episodes begin at a checkpoint even in a longer training."""
    assert algorithm.env is not None
    record = ALGORITHMS[settings.trainer.kind]
    rollout = record.rollout_steps(algorithm, longest_episode(algorithm.env))
    every = checkpoints.interval(settings, algorithm.env)
    rollout_before = checkpoint.steps - rollout
    return checkpoint.steps // every != rollout_before // every


def start_from(algorithm: BaseAlgorithm, folder: Path) -> None:
    """Gives a new algorithm the weights and the normalisation of a trained policy: of
    off-policy algorithms the actor's weights, of all others the critic's, too.

    Args:
        algorithm: which has learned nothing.
        folder: of the run of the trained policy.

    Raises:
        UsageError: it is of another network, or observes otherwise.
    """
    wrapper = shown(algorithm.env)
    try:
        trained = load_policy(RunFolder(folder).policy)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--from {folder}: {error}") from error
    try:
        _take_weights(algorithm, trained, wrapper)
        _take_normalisation(algorithm, trained, wrapper)
    except ValueError as error:
        raise UsageError(f"--from {folder}: {error}") from error
    except RuntimeError as error:
        settings = trained.metadata["settings"]
        raise UsageError(
            f"--from {folder} is of another network: of {settings['policy']} on "
            f"{settings['env']}, which differs from this one in its layers, its "
            "observations or its actions"
        ) from error


def _take_weights(
    algorithm: BaseAlgorithm, trained: DeployedPolicy, wrapper: Shown | None
) -> None:
    """Raises ValueError or RuntimeError where the weights are of another network."""
    deployed = actor_of(algorithm.policy)  # the part of the policy that is saved
    if isinstance(deployed, Squashed) != isinstance(trained.policy, Squashed):
        raise ValueError(
            "actors of off-policy algorithms (sac, tqc) have other outputs than those "
            "of the other algorithms, so neither can start from the other"
        )
    weights = trained.policy.state_dict()
    if wrapper is None:
        deployed.load_state_dict(weights)
    else:
        widen(deployed, wrapper.task_channels, weights)


def _take_normalisation(
    algorithm: BaseAlgorithm, trained: DeployedPolicy, wrapper: Shown | None
) -> None:
    """Raises ValueError where only one of the two observes normalised numbers."""
    normalisation = trained.normalisation
    venv = algorithm.get_vec_normalize_env()
    normalises = venv is not None and venv.norm_obs
    if (normalisation is not None) != normalises:
        kind = "raw" if normalisation is None else "normalised"
        raise ValueError(
            f"it observes {kind} numbers, and what it has learned means nothing "
            "otherwise; leave out --[no-]normalize-observations"
        )
    if normalisation is not None and venv is not None:
        normalisation.give(venv, 0 if wrapper is None else wrapper.columns)
