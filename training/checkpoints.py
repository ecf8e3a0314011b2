"""Checkpoints: what a training run goes on from, bit for bit as if it had never
stopped.

At each checkpoint of every run, interrupted or not, all environments begin new
episodes, and all random numbers a new stream, with seeds made of the run's seed and the
steps trained. So nothing of a live environment is kept, and every environment that
`reset(seed)` determines resumes exactly. The learner bootstraps the episodes that were
under way, as truncated ones, or leaves out their last steps (off-policy); the
statistics of episodes leave them out.

A checkpoint is a file, `checkpoints/step-STEPS-DIGEST.safetensors`: arrays as tensors,
the rest as JSON in the header. A replay buffer is in blocks, each in a file of its own,
`checkpoints/block-NUMBER-DIGEST.safetensors`, which is written once, as soon as nothing
in it changes any more, and read by all checkpoints that name it. Names hold a digest of
the contents, so that a damaged file is recognised, and reading one runs no code of
whoever made it.
"""

import hashlib
import json
import re
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import AcquireReturnProxy, FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from spikepropamine.agents.replay_buffer import MEMORY, Arrays, Blocks
from spikepropamine.common import UsageError, reason, whole_file
from spikepropamine.reading import parse_json, read_tensors
from spikepropamine.training.callbacks import Periodic, longest_episode
from spikepropamine.training.settings import Settings

NUMBERS = (int, float, np.number)
FORMAT = 3
READABLE = (2, FORMAT)
"""Formats that can be read; in 2 there were no blocks."""
NAME = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.safetensors")
BLOCK_NAME = re.compile(r"block-(\d{8})-([0-9a-f]{16})\.safetensors")
LOCK = ".lock"
PATIENCE = 5.0
"""Seconds for a training that is just ending, since what started it was killed."""
PROGRESS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "ep_info_buffer",
    "ep_success_buffer",
)
"""What is kept of every algorithm; some keep more (`kept_numbers`)."""
LASTING = ("obs_rms", "ret_rms", "steps_taken")
"""What wrappers of the environments keep over episodes."""

State = dict[str, Any]
"""Of a learner, as `state_of` gives it."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a learner, and when and by what it was taken."""

    steps: int
    """Environment steps trained for."""
    settings: dict[str, Any]
    """Of the run, plain values."""
    versions: dict[str, str]
    """Of the packages that results depend on."""
    state: State


def state_of(algorithm: BaseAlgorithm) -> State:
    """All that decides how a training goes on, between an update and the next
    rollout.
    """
    logger = algorithm.logger
    log = {}
    for key, value in logger.name_to_value.items():
        if isinstance(value, NUMBERS):
            log[key] = [value, logger.name_to_count[key], logger.name_to_excluded[key]]
    state = {
        "parameters": algorithm.get_parameters(),
        "progress": _attributes(algorithm, _progress(algorithm)),
        "normalisation": [_attributes(layer, LASTING) for layer in _layers(algorithm)],
        "log": log,
    }
    for name, part in _parts(algorithm).items():
        state[name] = part.contents()
    return state


def restore(algorithm: BaseAlgorithm, state: State) -> None:
    """Makes a new algorithm the one that a state was taken of.

    Args:
        algorithm: made with the same settings.
        state: what `state_of` gave.

    Raises:
        ValueError: it differs in its making; the message says where.
    """
    window = algorithm._stats_window_size
    # before `learn` they are None, and SB3 keeps what is there
    algorithm.ep_info_buffer = deque(maxlen=window)
    algorithm.ep_success_buffer = deque(maxlen=window)
    layers = _layers(algorithm)
    try:
        _check_parameters(algorithm, state["parameters"])
        algorithm.set_parameters(state["parameters"], exact_match=True)
        _set_attributes(algorithm, state["progress"], _progress(algorithm))
        for layer, values in zip(layers, state["normalisation"], strict=True):
            _set_attributes(layer, values, LASTING)
        for name, part in _parts(algorithm).items():
            part.restore(state[name])
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"it is of another network or task: {reason(error)}"
        ) from error


def _progress(algorithm: BaseAlgorithm) -> tuple[str, ...]:
    """Names of the attributes with numbers that are kept."""
    return PROGRESS + getattr(algorithm, "kept_numbers", ())


def _parts(algorithm: BaseAlgorithm) -> dict[str, Any]:
    """What else an algorithm goes on from, by its name in a checkpoint."""
    names = getattr(algorithm, "kept_parts", {})
    return {key: getattr(algorithm, name) for key, name in names.items()}


def log_on(algorithm: BaseAlgorithm, state: State) -> None:
    """Gives the logger what had been recorded for the row to come.

    Args:
        algorithm: which has the logger.
        state: what `state_of` gave.
    """
    logger = algorithm.logger
    for name, (value, count, excluded) in state["log"].items():
        logger.name_to_value[name] = value
        logger.name_to_count[name] = count
        logger.name_to_excluded[name] = excluded


def begin_episodes(algorithm: BaseAlgorithm, seed: int) -> None:
    """Begins new episodes in all environments, and new streams of all random numbers.

    Args:
        algorithm: whose steps decide the streams, too.
        seed: of the run.
    """
    assert algorithm.env is not None
    entropy = np.random.SeedSequence([seed, algorithm.num_timesteps])
    algorithm.set_random_seed(int(entropy.generate_state(1)[0]))
    algorithm._last_obs = algorithm.env.reset()  # type: ignore[assignment]
    algorithm._last_episode_starts = np.ones(algorithm.n_envs, dtype=bool)
    if algorithm._vec_normalize_env is not None:
        algorithm._last_original_obs = algorithm._vec_normalize_env.get_original_obs()
    states = getattr(algorithm, "_last_lstm_states", None)
    if states is not None:
        algorithm._last_lstm_states = _zeros(states)  # type: ignore[attr-defined]


def _zeros(states: RNNStates) -> RNNStates:
    """States of zeros; tensors that actor and critic share stay shared."""
    zeros: dict[int, torch.Tensor] = {}
    for pair in states:
        for x in pair:
            zeros.setdefault(x.data_ptr(), torch.zeros_like(x))
    return RNNStates(*(tuple(zeros[x.data_ptr()] for x in pair) for pair in states))


def _check_parameters(algorithm: BaseAlgorithm, parameters: dict[str, Any]) -> None:
    """PyTorch's optimisers take tensors of any shape, and read beyond their ends later
    on.
    """
    present = algorithm.get_parameters()
    if parameters.keys() != present.keys():
        raise ValueError(f"there are {', '.join(parameters)}")
    for name, given in parameters.items():
        if "param_groups" in present[name]:
            _check_optimizer(_part(algorithm, name), given["state"])


def _part(algorithm: BaseAlgorithm, path: str) -> Any:
    """An attribute by its dotted name."""
    part: Any = algorithm
    for name in path.split("."):
        part = getattr(part, name)
    return part


def _check_optimizer(optimizer: torch.optim.Optimizer, states: dict[int, Any]) -> None:
    """Raises ValueError where the state of a parameter is not as the parameter is."""
    parameters = [x for group in optimizer.param_groups for x in group["params"]]
    for index, state in states.items():
        for key, x in state.items():
            fits = x.shape in (parameters[index].shape, ())
            if not fits or x.dtype != torch.float32:
                raise ValueError(f"the optimiser's {key} has shape {tuple(x.shape)}")


def _attributes(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def _set_attributes(thing: Any, values: dict[str, Any], names: tuple[str, ...]) -> None:
    """Sets attributes that are there, to values of the same kind."""
    present = _attributes(thing, names)
    if values.keys() != present.keys():
        raise ValueError(f"it has {', '.join(values)}")
    for name, value in values.items():
        before = present[name]
        if isinstance(before, deque) and isinstance(value, list | deque):
            value = deque(value, before.maxlen)
        if before is not None and type(value) is not type(before):
            raise ValueError(f"{name} is {value!r}")
        if _shapes(value) != _shapes(before):
            raise ValueError(f"{name} has other shapes")
        setattr(thing, name, value)


def _shapes(value: object) -> Any:
    """The shapes of running statistics, by part of an observation; None of all else."""
    if isinstance(value, dict):
        return {key: _shapes(part) for key, part in value.items()}
    return np.shape(value.mean) if isinstance(value, RunningMeanStd) else None


def _layers(algorithm: BaseAlgorithm) -> list[Any]:
    """The wrappers of the vectorised environments, outermost first."""
    layers = []
    venv = algorithm.env
    while isinstance(venv, VecEnvWrapper):
        layers.append(venv)
        venv = venv.venv
    return layers


# files


def _packed(value: object, arrays: Arrays, folder: Path) -> Any:
    """A tree of containers, numbers, texts and arrays as JSON, which names the arrays,
    and the files in a folder where blocks are, which are written if need be.
    """

    def packed(value: object) -> Any:
        return _packed(value, arrays, folder)

    if isinstance(value, Blocks):
        _store(value, folder)
        return {"blocks": [[number, value.stored[number]] for number in value]}
    if isinstance(value, torch.Tensor):
        return {"tensor": _keep(value.detach().cpu().numpy(), arrays)}
    if isinstance(value, np.ndarray | np.generic):
        return {"array": _keep(value, arrays)}
    if isinstance(value, RunningMeanStd):
        parts = [value.mean, value.var, value.count]
        return {"statistics": [packed(x) for x in parts]}
    if isinstance(value, dict):
        return {"dict": [[packed(k), packed(x)] for k, x in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [packed(x) for x in value]}
    if isinstance(value, list | deque):
        return [packed(x) for x in value]
    return value


def _store(blocks: Blocks, folder: Path) -> None:
    """Writes those blocks that are in no file of a folder yet."""
    for number in blocks:
        name = blocks.stored.get(number)
        if name is None or not (folder / name).is_file():
            arrays: Arrays = {}
            for key, x in blocks[number].items():
                # safetensors writes the numbers as they lie in memory
                arrays[key] = np.ascontiguousarray(x)
            path = _write(folder, f"block-{number:08d}", save(arrays))
            blocks.stored[number] = path.name


def _write(folder: Path, name: str, contents: bytes) -> Path:
    """Writes a file whose name ends with a digest of its contents, and returns it."""
    digest = hashlib.sha256(contents).hexdigest()[:16]
    path = folder / f"{name}-{digest}.safetensors"
    with whole_file(path) as part:
        part.write_bytes(contents)
    return path


def _keep(value: np.ndarray | np.generic, arrays: Arrays) -> str:
    """Adds an array to the others, and returns its name."""
    array = np.asarray(value)
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return name


def _unpacked(value: object, arrays: Arrays, folder: Path) -> Any:
    """What `_packed` was given."""
    if isinstance(value, list):
        return [_unpacked(x, arrays, folder) for x in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return torch.from_numpy(arrays[inner])
    if kind == "array":
        array = arrays[inner]
        return array if array.ndim else array[()]
    if kind == "blocks":
        return _blocks_in(folder, dict(inner))
    parts = _unpacked(inner, arrays, folder)
    if kind == "statistics":
        statistics = RunningMeanStd()
        statistics.mean, statistics.var, statistics.count = parts
        return statistics
    return {"dict": dict, "tuple": tuple}[kind](parts)


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint, and then removes all but this one and the one before.

    Args:
        folder: of the run's checkpoints.
        checkpoint: to be written.

    Returns:
        The file.
    """
    arrays: Arrays = {}
    about = {
        "format": FORMAT,
        "steps": checkpoint.steps,
        "settings": checkpoint.settings,
        "versions": checkpoint.versions,
        "state": _packed(checkpoint.state, arrays, folder),
    }
    contents = save(arrays, metadata={"checkpoint": json.dumps(about)})
    path = _write(folder, f"step-{checkpoint.steps:012d}", contents)
    earlier = [other for other in listed(folder) if steps_of(other) < checkpoint.steps]
    kept = [path, *earlier[:1]]
    for other in listed(folder):
        if other not in kept:
            other.unlink()
    _remove_blocks(folder, kept)
    return path


def _remove_blocks(folder: Path, kept: list[Path]) -> None:
    """Removes the blocks that none of some checkpoints names."""
    named: set[str] = set()
    for path in kept:
        # of one that is damaged nothing can be read any more
        with suppress(SafetensorError, KeyError), safe_open(path, "numpy") as file:
            description = file.metadata()["checkpoint"]
            named |= {match[0] for match in BLOCK_NAME.finditer(description)}
    for path in folder.glob("block-*"):
        if BLOCK_NAME.fullmatch(path.name) and path.name not in named:
            path.unlink()


def _blocks_in(folder: Path, names: dict[int, str]) -> Blocks:
    """Blocks in files of a folder, by number. Raises ValueError, which names a file
    that is not whole.
    """

    def block(number: int) -> Arrays:
        match = BLOCK_NAME.fullmatch(names[number])
        if match is None:
            raise ValueError(f"{names[number]!r} is no block")
        path = folder / match[0]
        arrays, _ = read_tensors(path, MEMORY, inside=folder, digest=match[2])
        return arrays

    for number in names:
        block(number)
    return Blocks(names, block, names)


def listed(folder: Path) -> list[Path]:
    """The files of checkpoints in a folder, the latest first."""
    files = [path for path in folder.glob("*") if NAME.fullmatch(path.name)]
    return sorted(files, key=steps_of, reverse=True)


def steps_of(path: Path) -> int:
    """Environment steps of a checkpoint, by its name."""
    return int(path.name.split("-")[1])


def read(path: Path) -> Checkpoint:
    """A checkpoint. Raises ValueError, which names it, where it is damaged or of
    another format.
    """
    match = NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is no checkpoint")
    arrays, metadata = read_tensors(path, MEMORY, inside=path.parent, digest=match[2])
    try:
        about = parse_json(metadata["checkpoint"], "its description")
        if about.pop("format") not in READABLE:
            raise ValueError("it is of a format that this version does not read")
        state = _unpacked(about.pop("state"), arrays, path.parent)
        return Checkpoint(state=state, **about)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def latest(folder: Path) -> Checkpoint:
    """The latest whole checkpoint in a folder. A line says which are skipped. Raises
    UsageError where none is whole.
    """
    for path in listed(folder):
        try:
            return read(path)
        except ValueError as error:
            print(f"{error}; it is skipped", file=sys.stderr)
    raise UsageError(f"no checkpoint in {folder} is whole; train anew with --overwrite")


def lock(folder: Path) -> AcquireReturnProxy:
    """Keeps other trainings out of a run folder until the end of a `with`. Raises
    UsageError where another one is at work there.
    """
    try:
        return FileLock(folder / LOCK, timeout=PATIENCE).acquire()
    except Timeout:
        raise UsageError(f"another training is at work in {folder}") from None


def interval(settings: Settings, venv: VecEnv) -> int:
    """Steps between checkpoints: as the settings say, or so many that few episodes are
    cut short.

    Args:
        settings: of the training.
        venv: its environments.
    """
    if settings.checkpoint_every is not None:
        return settings.checkpoint_every
    return max(50_000, 5 * venv.num_envs * longest_episode(venv, unknown=0))


class Checkpoints(Periodic):
    """Saves checkpoints, after each of which all environments begin new episodes, as
    they do first where the training is `resumed`.

    Args:
        settings: of the training.
        versions: of what its results depend on.
        before, after: called before and after each checkpoint is written.
        resumed: whether the training goes on from a checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        versions: dict[str, str],
        before: Callable[[], object],
        after: Callable[[], object],
        resumed: bool,
    ) -> None:
        super().__init__(0)
        self.settings = settings
        self.versions = versions
        self.before = before
        self.after = after
        self.begins_episodes = resumed

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.every = interval(self.settings, self.training_env)

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        if self.begins_episodes:
            begin_episodes(self.model, self.settings.seed)
            self.begins_episodes = False

    def act(self) -> None:
        """Saves, and goes on as if it were resumed."""
        self.save()
        self.begins_episodes = True

    def save(self) -> None:
        """Writes a checkpoint, of now."""
        self.before()
        checkpoint = Checkpoint(
            steps=self.model.num_timesteps,
            settings=self.settings.as_dict(),
            versions=self.versions,
            state=state_of(self.model),
        )
        write(self.settings.folder.checkpoints, checkpoint)
        self.after()
