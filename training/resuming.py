"""Going on with a run: exactly where that is possible, and otherwise only when asked."""

import sys

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from spikepropamine.common import UsageError
from spikepropamine.own_modules import code_of
from spikepropamine.training.checkpoints import Checkpoint, go_on, latest, learn_on
from spikepropamine.training.settings import Settings, check_unchanged, completed
from spikepropamine.training.snapshot import CannotRestore, Snapshot
from spikepropamine.versions import digests_of, versions

DECISIVE = ("n_envs", "backend", "device")
"""Settings that may change, but not without changing every number from there on."""


def resume(algorithm: OnPolicyAlgorithm, settings: Settings) -> Snapshot:
    """Makes a new algorithm the one that was interrupted.

    Returns:
        The snapshot that it goes on from.

    Raises:
        UsageError: it cannot be the same, or not exactly and `settings.inexact` is not set.
    """
    checkpoint = latest(settings.folder.checkpoints, lambda line: print(line, file=sys.stderr))
    assert checkpoint is not None  # the caller has seen one
    check_unchanged(completed(checkpoint.settings), settings.as_dict())
    finished = checkpoint.steps >= settings.steps  # nothing is left that could differ
    then = checkpoint.settings["steps"]
    if (
        not finished
        and then != settings.steps
        and settings.trainer.learning_rate_schedule == "linear"
    ):
        print(
            f"the step size fell over {then:,} steps and falls over {settings.steps:,} from here "
            "on: a training of that length from the start would be another one",
            file=sys.stderr,
        )
    reasons = [] if finished else _reasons_against(checkpoint, settings)
    try:
        if settings.inexact or finished:
            learn_on(algorithm, checkpoint.snapshot)
            if not finished:
                _begin_anew(algorithm, settings)
        elif not reasons:
            go_on(algorithm, checkpoint.snapshot)
    except CannotRestore as error:
        reasons.append(str(error))
        if settings.inexact:
            raise UsageError(f"cannot resume: {error}") from error
    if reasons and not settings.inexact:
        raise UsageError(
            f"resuming would not be exact ({reasons[0]}); with --inexact it goes on all the same, "
            "in new episodes"
        )
    return checkpoint.snapshot


def contents_of(settings: Settings) -> dict[str, str]:
    """Digests of the files, policies and own modules that a training depends on, by what is said
    of them.
    """
    texts = [settings.perturb, settings.teacher, *settings.env_kwargs.values()]
    digests = digests_of(str(text) for text in texts if text is not None)
    contents = {f"the content of {text}": digest for text, digest in digests.items()}
    contents |= {f"the code of {name}": of for name, of in code_of(settings.imports).items()}
    return {name: digest[:12] for name, digest in contents.items()}


def _begin_anew(algorithm: OnPolicyAlgorithm, settings: Settings) -> None:
    # a new stream of randomness: the old one would repeat the first episodes, and a seed near those
    # that evaluations count from would bring theirs
    algorithm.set_random_seed(2**30 + settings.seed + algorithm.num_timesteps)
    print("resuming inexactly: episodes and random numbers begin anew", file=sys.stderr)


def _reasons_against(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """Why the run cannot go on exactly."""
    now, reasons = versions() | contents_of(settings), []
    for name, version in checkpoint.versions.items():
        if name != "revision" and now.get(name) != version:
            reasons.append(f"{name} was {version}, and is {now.get(name)} now")
    for name in DECISIVE:
        then = checkpoint.settings.get(name)
        if then != getattr(settings, name):
            reasons.append(f"{name} was {then}, and is {getattr(settings, name)} now")
    if checkpoint.snapshot.missing:
        reasons.append(f"no state could be taken of {checkpoint.snapshot.missing[0]}")
    return reasons
