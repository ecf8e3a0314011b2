"""Checkpoints: what a training run goes on from, bit for bit as if it had never stopped.

A checkpoint is one file, `checkpoints/step-STEPS-DIGEST.safetensors`: a `Snapshot` of learner and
environments between an update and the next rollout, arrays as tensors and the rest as JSON in the
header. Its name holds a digest of its contents, so that a damaged one is recognised, and reading it
runs no code of whoever made it.
"""

import hashlib
import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.numpy import save
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper

from spikepropamine.common import UsageError, reason, whole_file
from spikepropamine.reading import parse_json, read_tensors
from spikepropamine.training.callbacks import BetweenSteps
from spikepropamine.training.snapshot import CannotRestore, Snapshot

NUMBERS = (int, float, np.number)
FORMAT = 1
NAME = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.safetensors")
LARGEST = 2**32  # bytes
LOCK = ".lock"
PATIENCE = 5.0  # seconds for a training that is just ending, since what started it was killed
PROGRESS = (
    "num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining",
    "ep_info_buffer", "ep_success_buffer", "_left_out_in_a_row", "_episode_ended", "_was_told",
)  # fmt: skip
EPISODES = ("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states")
LASTING = ("obs_rms", "ret_rms", "steps_taken")
"""What wrappers of the environments keep over episodes."""


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot, and when and by what it was taken.

    Attributes:
        steps: environment steps trained for.
        settings: of the run, plain values.
        versions: of the packages that results depend on.
    """

    steps: int
    settings: dict[str, Any]
    versions: dict[str, str]
    snapshot: Snapshot


def take(algorithm: OnPolicyAlgorithm) -> Snapshot:
    """All that decides how a training goes on; to be taken between an update and a rollout."""
    logger = algorithm.logger
    pending = {k: v for k, v in logger.name_to_value.items() if isinstance(v, NUMBERS)}
    return Snapshot.of(
        {
            "parameters": algorithm.get_parameters(),
            "progress": _attributes(algorithm, PROGRESS),
            "episodes": _attributes(algorithm, EPISODES),
            "normalisation": [_attributes(layer, LASTING) for layer in _layers(algorithm)],
            "environments": algorithm.env,
            "random": _random_states(algorithm.device),
            "log": {
                k: [v, logger.name_to_count[k], logger.name_to_excluded[k]]
                for k, v in pending.items()
            },
        }
    )


def go_on(algorithm: OnPolicyAlgorithm, snapshot: Snapshot) -> None:
    """Makes a new algorithm, on new environments, the one that the snapshot was taken of.

    Raises:
        CannotRestore: it differs in its making.
    """
    assert algorithm.env is not None
    algorithm.env.reset()  # so that all is there that an episode needs
    learn_on(algorithm, snapshot)
    parts = {"episodes": _attributes(algorithm, EPISODES), "environments": algorithm.env}
    found = snapshot.give_back(parts | {"random": None})
    _set_attributes(algorithm, EPISODES, found["episodes"])
    _set_random_states(found["random"])


def learn_on(algorithm: OnPolicyAlgorithm, snapshot: Snapshot) -> None:
    """Gives an algorithm what was learned, but not the episodes that were under way.

    Raises:
        CannotRestore: it differs in its making.
    """
    layers = _layers(algorithm)
    parts = {
        "parameters": algorithm.get_parameters(),
        "progress": _attributes(algorithm, PROGRESS),
        "normalisation": [_attributes(layer, LASTING) for layer in layers],
    }
    found = snapshot.give_back(parts)
    try:
        _check_parameters(algorithm, found["parameters"])
        algorithm.set_parameters(found["parameters"], exact_match=True)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CannotRestore(f"the parameters are of another network: {reason(error)}") from error
    _set_attributes(algorithm, PROGRESS, found["progress"])
    for layer, values in zip(layers, found["normalisation"]):
        _set_attributes(layer, LASTING, values)
    algorithm._last_obs = None  # new episodes, unless they are given back too


def _check_parameters(algorithm: OnPolicyAlgorithm, found: dict[str, Any]) -> None:
    """PyTorch's optimisers take tensors of any shape, and read beyond their ends later on."""
    if found.keys() != algorithm.get_parameters().keys():
        raise ValueError(f"there are {', '.join(found)}")
    optimizer = algorithm.policy.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in found["policy.optimizer"]["state"].items():
        for name, x in state.items():
            if x.shape not in (parameters[index].shape, ()) or x.dtype != torch.float32:
                raise ValueError(f"the optimiser's {name} has shape {tuple(x.shape)}")


def log_on(algorithm: OnPolicyAlgorithm, snapshot: Snapshot) -> None:
    """Gives the logger what had been recorded for the row to come."""
    logger = algorithm.logger
    for name, (value, count, excluded) in snapshot.give_back({"log": None})["log"].items():
        logger.name_to_value[name] = value
        logger.name_to_count[name] = count
        logger.name_to_excluded[name] = excluded


def _attributes(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def _set_attributes(thing: Any, names: tuple[str, ...], values: Mapping[str, Any]) -> None:
    for name in names:
        if name in values:
            setattr(thing, name, values[name])


def _layers(algorithm: OnPolicyAlgorithm) -> list[Any]:
    """The wrappers of the vectorised environments, outermost first."""
    layers, venv = [], algorithm.env
    while isinstance(venv, VecEnvWrapper):
        layers.append(venv)
        venv = venv.venv
    return layers


def _random_states(device: torch.device) -> dict[str, Any]:
    states: dict[str, Any] = {"python": random.getstate()}
    states["numpy"] = np.random.get_state(legacy=False)
    states["torch"] = torch.get_rng_state()
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: Mapping[str, Any]) -> None:
    try:
        random.setstate(states["python"])
        np.random.set_state(states["numpy"])
        torch.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CannotRestore(f"the random states are no such states: {error}") from error


# files


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint, and then removes all but this one and the one before."""
    about: dict[str, Any] = {"format": FORMAT} | vars(checkpoint)
    about["snapshot"] = {k: v for k, v in vars(checkpoint.snapshot).items() if k != "arrays"}
    contents = save(checkpoint.snapshot.arrays, metadata={"checkpoint": json.dumps(about)})
    digest = hashlib.sha256(contents).hexdigest()[:16]
    path = folder / f"step-{checkpoint.steps:012d}-{digest}.safetensors"
    with whole_file(path) as part:
        part.write_bytes(contents)
    earlier = [other for other in listed(folder) if _steps(other) < checkpoint.steps]
    for other in listed(folder):
        if other not in (path, *earlier[:1]):
            other.unlink()
    return path


def listed(folder: Path) -> list[Path]:
    """The files of checkpoints in a folder, the latest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    return sorted(found, key=_steps, reverse=True)


def newest_steps(folder: Path) -> int | None:
    """Environment steps of the latest checkpoint in a folder; None where there is none."""
    return max(map(_steps, listed(folder)), default=None)


def _steps(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match
    return int(match[1])


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        ValueError: it is damaged, or of another format; the message names it.
    """
    match = NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is no checkpoint")
    arrays, metadata = read_tensors(path, LARGEST, inside=path.parent, digest=match[2])
    try:
        about = parse_json(metadata["checkpoint"], "its description")
        if about.pop("format") != FORMAT:
            raise ValueError("it is of a format that this version does not read")
        return Checkpoint(snapshot=Snapshot(arrays=arrays, **about.pop("snapshot")), **about)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def latest(folder: Path, say: Any) -> Checkpoint | None:
    """The latest whole checkpoint in a folder; None where there is no file of any.

    Args:
        folder: of the checkpoints.
        say: is called with a line about each that is skipped.

    Raises:
        UsageError: there are some, and none is whole.
    """
    paths = listed(folder)
    for path in paths:
        try:
            return read(path)
        except ValueError as error:
            say(f"{error}; it is skipped")
    if paths:
        raise UsageError(f"no checkpoint in {folder} is whole; train anew with --overwrite")
    return None


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a run folder, for as long as this one is there and alive.

    Raises:
        UsageError: another one is at work there.
    """
    file = FileLock(folder / LOCK, timeout=PATIENCE)
    try:
        file.acquire()
    except Timeout:
        raise UsageError(f"another training is at work in {folder}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps files that are open
            (folder / LOCK).unlink()
        file.release()


class Checkpoints(BetweenSteps):
    """Saves checkpoints, between an update and the next rollout.

    A snapshot is taken in memory at the start of rollouts too, as often as costs little time, so
    that a run that is interrupted goes on from there.

    Args:
        folder: of the checkpoints.
        every: environment steps between two of them.
        settings, versions: kept with each.
        before: is called before each is written.
    """

    SHARE = 0.02
    """Of the time may be spent on snapshots in memory."""

    def __init__(
        self,
        folder: Path,
        every: int,
        settings: dict[str, Any],
        versions: dict[str, str],
        before: Any,
    ) -> None:
        super().__init__()
        self.folder, self.every, self.before = folder, every, before
        self.about = {"settings": settings, "versions": versions}
        self.last: Checkpoint | None = None

    def _on_training_start(self) -> None:
        self.saved_at = self.num_timesteps
        self.next_look = 0.0

    def _on_rollout_start(self) -> None:
        now = time.perf_counter()
        due = self.num_timesteps // self.every > self.saved_at // self.every
        if due or now >= self.next_look:
            self.look()
            done = time.perf_counter()
            self.next_look = done + (done - now) / self.SHARE
        if due:
            self.save()

    def look(self) -> None:
        """Takes a snapshot of now, in memory."""
        self.last = Checkpoint(
            steps=self.model.num_timesteps,
            snapshot=take(self.model),  # type: ignore[arg-type]
            **self.about,
        )

    def save(self) -> None:
        """Writes the latest snapshot, if there is any."""
        if self.last is None:
            return
        self.before()
        write(self.folder, self.last)
        self.saved_at = self.last.steps
