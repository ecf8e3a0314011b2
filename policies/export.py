"""Saving a policy for others: weights as safetensors, everything else as JSON; and
making one anew that observes fewer or more channels.

Loading such a folder runs no code of whoever made it (an SB3 zip holds pickles, which
can).
"""

import json
import re
import time
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common import torch_layers
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn
from torch.overrides import TorchFunctionMode

from spikepropamine.common import reason, shown, whole_file, whole_folder
from spikepropamine.policies.actors import Squashed
from spikepropamine.policies.baselines import ToldLstmPolicy, ToldMlpPolicy
from spikepropamine.policies.config import NetworkConfig, completed_network
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.fast import NETWORKS
from spikepropamine.policies.spaces import (
    LstmCombinedExtractor,
    LstmFlattenExtractor,
    check_width,
    extractor_for,
    is_normalised,
    space_from_json,
    space_to_json,
)
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.reading import (
    Missing,
    Unreadable,
    parse_json,
    read_json,
    read_tensors,
)

FORMAT = 2
DIGEST = re.compile("[0-9a-f]{64}")  # of SHA-256
AGAIN = 0.01  # seconds; a training that replaces a policy takes less
LARGEST_DESCRIPTION = 2**24  # bytes
LARGEST_ARGUMENTS = 2**12  # characters, which are some hundred layers
MOST_LSTM_LAYERS = 100  # which are a number, and no list
BROKEN = (
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)
"""What reading damaged contents can raise."""
POLICIES: dict[str, type[ActorCriticPolicy]] = {
    cls.__name__: cls for cls in NETWORKS if cls not in (ToldMlpPolicy, ToldLstmPolicy)
}
"""By name; one whose critic is told is saved as what it is without that, see
`narrowed`."""
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
EXTRACTORS = (
    torch_layers.FlattenExtractor,
    torch_layers.NatureCNN,
    torch_layers.CombinedExtractor,
    LstmFlattenExtractor,
    LstmCombinedExtractor,
)
OF_ALL = (
    "net_arch",
    "ortho_init",
    "log_std_init",
    "critic_sees_spikes",
    "normalize_images",
)
OF_LSTM = ("lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm")
"""Constructor arguments that a policy folder may name, besides activation_fn and
network."""


def save_policy(
    folder: Path,
    policy: ActorCriticPolicy,
    venv: VecNormalize | Normalisation | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes `policy.json`, `weights.safetensors` and, with `venv`,
    `normalisation.safetensors`.

    An older policy in `folder` is replaced as a whole, once the new one is complete.

    Args:
        folder: created if it is missing.
        policy: of a class in `POLICIES`.
        venv: the training environment's `VecNormalize`, if there is one, or its
            statistics.
        metadata: anything JSON can hold (the run's settings, versions).

    Raises:
        ValueError: a policy class or setting that the format does not know, or a `venv`
            that normalises something else than what the policy observes (below a
            `VecFrameStack`).
    """
    name = type(policy).__name__
    if name not in POLICIES:
        raise ValueError(
            f"cannot export a {name}; the format knows {', '.join(POLICIES)}; add "
            "yours to policies.export.POLICIES"
        )
    normalisation = Normalisation.of(venv) if isinstance(venv, VecNormalize) else venv
    settings: dict[str, Any] | None = None
    statistics: dict[str, torch.Tensor] = {}
    if normalisation is not None:
        settings = {"clip": normalisation.clip, "epsilon": normalisation.epsilon}
        if "" not in normalisation.statistics:
            settings["keys"] = sorted(normalisation.statistics)
        for key, (mean, var) in normalisation.statistics.items():
            of_key = f"/{key}" if key else ""
            statistics[f"mean{of_key}"] = torch.as_tensor(np.asarray(mean))
            statistics[f"var{of_key}"] = torch.as_tensor(np.asarray(var))
        if _shapes(statistics) != _statistics_of(policy.observation_space, settings):
            raise ValueError(
                "what VecNormalize has normalised is not what the policy observes"
            )
    description = {
        "format": FORMAT,
        "policy": name,
        "arguments": arguments_of(policy),
        "observation_space": space_to_json(policy.observation_space),
        "action_space": space_to_json(policy.action_space),
        "normalisation": settings,
        "metadata": dict(metadata or {}),
    }
    weights = {k: v.detach().cpu().clone() for k, v in policy.state_dict().items()}
    contents = {"weights.safetensors": save(weights)}
    if settings is not None:
        contents["normalisation.safetensors"] = save(statistics)
    description["sha256"] = {
        name: sha256(x).hexdigest() for name, x in contents.items()
    }
    description["digest"] = _digest(description)
    contents["policy.json"] = (json.dumps(description, indent=2) + "\n").encode()
    as_read = parse_json(contents["policy.json"], "policy.json")
    if _shapes_of(_maker(as_read)) != _shapes(policy.state_dict()):
        raise ValueError(
            "cannot export this policy: its class makes other weights out of its "
            "arguments, as where it has another features extractor than by default"
        )
    with whole_folder(folder) as new:
        for file, content in contents.items():
            with whole_file(new / file) as part:
                part.write_bytes(content)


def load_policy(folder: Path | str) -> DeployedPolicy:
    """Loads what `save_policy` wrote.

    Names, types and sizes of what a file holds, and digests of all contents, are
    checked before memory is taken for it. A training may replace the policy meanwhile;
    then it is the newer one.

    Raises:
        FileNotFoundError: no policy there; the message names the missing file.
        ValueError: another format, or damaged contents.
    """
    try:
        return _loaded(Path(folder))
    except (Unreadable, FileNotFoundError):
        time.sleep(AGAIN)
    return _loaded(Path(folder))


def _loaded(folder: Path) -> DeployedPolicy:
    """See `load_policy`, but for the second try."""
    for name in ("policy.json", "weights.safetensors"):
        if not (folder / name).exists():
            raise Missing(f"no policy in {folder}: {name} is missing")
    description = _read_description(folder / "policy.json")
    try:
        settings = description["normalisation"]
        digests = dict(description["sha256"])
        metadata = dict(description["metadata"])
        held = (folder / "weights.safetensors").stat().st_size
        for name in ("observation_space", "action_space"):
            check_width(description[name], most=held)
        make = _maker(description)
        shapes = _shapes_of(make)
        size = sum(prod(shape) * dtype.itemsize for shape, dtype in shapes.values())
        if size > held:
            raise ValueError(
                "it describes more weights than weights.safetensors, which may be cut, "
                "holds"
            )
        policy = make()
        policy.optimizer_class = torch.optim.Adam
    except BROKEN as error:
        raise Unreadable(
            f"{folder / 'policy.json'} is damaged: {reason(error)}"
        ) from error
    normalisation = None
    try:
        policy.load_state_dict(_load(folder, "weights", shapes, digests))
        if settings is not None:
            sizes = _statistics_of(policy.observation_space, settings)
            tensors = _load(folder, "normalisation", sizes, digests)
            statistics = {}
            for name in sizes:
                part, _, key = name.partition("/")
                if part == "mean":
                    var = tensors[name.replace("mean", "var", 1)]
                    statistics[key] = (tensors[name].numpy(), var.numpy())
            normalisation = Normalisation(
                statistics, float(settings["clip"]), float(settings["epsilon"])
            )
    except BROKEN as error:
        raise Unreadable(
            f"the tensors in {folder} are damaged: {reason(error)}"
        ) from error
    return DeployedPolicy(policy, normalisation, metadata)


def _read_description(file: Path) -> dict[str, Any]:
    description: Any = read_json(file, LARGEST_DESCRIPTION, inside=file.parent)
    version = description.get("format") if isinstance(description, dict) else None
    if version != FORMAT:
        raise Unreadable(
            f"{file} has format {shown(version)}, this version reads {FORMAT}"
        )
    if description.get("digest") != _digest(description):
        raise Unreadable(f"{file} is damaged: it is not what was written")
    return dict(description)


def _digest(description: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in description.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _maker(description: dict[str, Any]) -> "partial[ActorCriticPolicy]":
    """Makes the policy of a description, with weights that are yet to be loaded."""
    given = description["arguments"]
    arguments = {name: given[name] for name in OF_ALL + OF_LSTM if name in given}
    too_many = len(json.dumps(given)) > LARGEST_ARGUMENTS
    if too_many or arguments.get("n_lstm_layers", 1) > MOST_LSTM_LAYERS:
        raise ValueError("it describes more layers than there may be")
    arguments["activation_fn"] = ACTIVATIONS[given["activation_fn"]]
    if "network" in given:
        arguments["network"] = NetworkConfig.of(completed_network(given["network"]))
    observations = space_from_json(description["observation_space"])
    actions = space_from_json(description["action_space"])
    name = description["policy"]
    if name.startswith("Recurrent"):
        images = arguments.get("normalize_images", True)
        arguments["features_extractor_class"] = extractor_for(observations, images)
    arguments["optimizer_class"] = NoOptimizer
    return partial(POLICIES[name], observations, actions, lambda _: 0.0, **arguments)


Shapes = dict[str, tuple[list[int], torch.dtype]]


def _shapes_of(make: "partial[ActorCriticPolicy]") -> Shapes:
    """Shapes and types of the weights of a policy that is not made, so that they take
    no memory.
    """
    cls: Any = make.func
    on_meta: Any = type("OnMeta", (cls,), {"device": torch.device("meta")})
    with torch.device("meta"), _ScaledByShape():
        policy = on_meta(*make.args, **make.keywords)
    return _shapes(policy.state_dict())


class NoOptimizer:
    """Stands in for the optimiser of a policy that is loaded to act.

    PyTorch's optimisers import its compiler when they are made, which takes over a
    second.
    """

    def __init__(self, parameters: Any, **settings: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a loaded policy has no optimizer, and so no {name}; to train it, make "
            "one: policy.optimizer = policy.optimizer_class(policy.parameters(), "
            "lr=3e-4)"
        )


class _ScaledByShape(TorchFunctionMode):
    """Tensors on the meta device, multiplied or divided: tensors of the same shape.

    PyTorch imports its compiler for such arithmetic, which takes more than a second.
    Drawn weights are scaled when a policy is made, and their numbers do not matter
    here.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Calls a function of PyTorch, or stands in for it."""
        if func in (torch.Tensor.mul, torch.Tensor.div):
            tensors = [x for x in args if isinstance(x, torch.Tensor)]
            if all(tensor.is_meta for tensor in tensors):
                shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
                return torch.empty(shape, dtype=tensors[0].dtype, device="meta")
        return func(*args, **(kwargs or {}))


def _shapes(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: (list(x.shape), x.dtype) for name, x in tensors.items()}


def _load(
    folder: Path,
    what: str,
    expected: Shapes,
    digests: Mapping[str, Any],
) -> dict[str, torch.Tensor]:
    """The tensors in a file, if their names, shapes and types are the expected ones."""
    file = folder / f"{what}.safetensors"
    most = sum(8 * prod(shape) for shape, _ in expected.values()) + LARGEST_DESCRIPTION
    digest = digests[file.name]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(f"the sha256 of {file.name} is {shown(digest)}, and no digest")
    arrays, _ = read_tensors(file, most, inside=folder, digest=digest)
    if arrays.keys() != expected.keys():
        odd = sorted(arrays.keys() ^ expected.keys())
        raise ValueError(f"{file.name} should not have, or lacks, {', '.join(odd[:3])}")
    loaded = {name: torch.tensor(arrays[name]) for name in expected}
    for name, tensor in loaded.items():
        shape, dtype = expected[name]
        if list(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name} in {file.name} should be {shape} of {dtype}, and is "
                f"{list(tensor.shape)} of {tensor.dtype}"
            )
        if not tensor.isfinite().all():
            raise ValueError(f"{name} in {file.name} has numbers that are not finite")
    return loaded


def arguments_of(policy: ActorCriticPolicy) -> dict[str, Any]:
    """What a policy's class was made with, as plain values.

    Raises:
        ValueError: something that the format does not know.
    """
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    if policy.activation_fn not in names:
        raise ValueError(
            f"cannot export the activation {policy.activation_fn.__name__}; use "
            f"{' or '.join(cls.__name__ for cls in names)}"
        )
    by_sb3 = {"normalized_image"}
    given = policy.features_extractor_kwargs.keys() - by_sb3
    if given or policy.features_extractor_class not in EXTRACTORS:
        raise ValueError(
            "cannot export a features extractor other than SB3's, as it is by default"
        )
    for name in ("use_sde", "squash_output", "lstm_kwargs"):
        if name == "squash_output" and isinstance(policy, Squashed):
            continue
        if getattr(policy, name, None):
            raise ValueError(
                f"cannot export a policy with {name}={getattr(policy, name)}"
            )
    extracts = next(policy.features_extractor.parameters(), None) is not None
    if extracts and not policy.share_features_extractor:
        raise ValueError("cannot export a policy with share_features_extractor=False")
    arguments: dict[str, Any] = {"activation_fn": names[policy.activation_fn]}
    if isinstance(policy, PlasticSpikingPolicy):
        arguments["network"] = policy.network_config.as_dict()
    elif isinstance(policy, RecurrentActorCriticPolicy):
        arguments["lstm_hidden_size"] = policy.lstm_actor.hidden_size
        arguments["n_lstm_layers"] = policy.lstm_actor.num_layers
        arguments["shared_lstm"] = policy.shared_lstm
        arguments["enable_critic_lstm"] = policy.enable_critic_lstm
    for name in OF_ALL:
        if hasattr(policy, name):
            arguments[name] = getattr(policy, name)
    return arguments


def _statistics_of(space: spaces.Space[Any], settings: Mapping[str, Any]) -> Shapes:
    """Names, shapes and types of the statistics of observations; of a Dict, of those of
    its parts that are normalised, the settings' "keys".
    """
    boxes: dict[str, spaces.Space[Any]] = {"": space}
    if isinstance(space, spaces.Dict):
        boxes = {f"/{key}": space[key] for key in settings.get("keys", ())}
        if not all(map(is_normalised, boxes.values())):
            raise ValueError("only numbers are normalised")
    return {
        f"{part}{key}": (list(box.shape or ()), torch.float64)
        for part in ("mean", "var")
        for key, box in boxes.items()
    }


def narrowed(policy: ActorCriticPolicy, channels: int) -> ActorCriticPolicy:
    """The same policy on the leading channels of its observations: as it is where the
    others are zero.

    Args:
        policy: of a class in `POLICIES`, or one below such a class; it observes a Box
            [channels or more].
        channels: how many there are.
    """
    space: Any = policy.observation_space
    low = space.low[:channels]
    high = space.high[:channels]
    classes = (cls.__name__ for cls in type(policy).__mro__)
    description = {
        "policy": next(name for name in classes if name in POLICIES),
        "arguments": arguments_of(policy),
        "observation_space": space_to_json(spaces.Box(low, high, dtype=space.dtype)),
        "action_space": space_to_json(policy.action_space),
    }
    # new weights are drawn, which nobody is to notice
    with torch.random.fork_rng(devices=[]):
        narrow = _maker(description)()
    wide = policy.state_dict()
    state = narrow.state_dict()
    narrow.load_state_dict({name: wide[name][_leading(x)] for name, x in state.items()})
    return narrow


def widen(
    policy: ActorCriticPolicy, channels: int, state: dict[str, torch.Tensor]
) -> None:
    """Gives a policy the weights of one on the leading channels of its observations,
    and zero for the others.

    Args:
        policy: is changed.
        channels: how many the other policy has.
        state: the other policy's weights.

    Raises:
        RuntimeError: they are of another network.
    """
    narrow = narrowed(policy, channels)
    narrow.load_state_dict(state)
    wide = {name: torch.zeros_like(x) for name, x in policy.state_dict().items()}
    for name, x in narrow.state_dict().items():
        wide[name][_leading(x)] = x
    policy.load_state_dict(wide)


def _leading(x: torch.Tensor) -> tuple[slice, ...]:
    return tuple(slice(size) for size in x.shape)
