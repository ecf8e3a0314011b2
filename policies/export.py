"""Saving a policy for others: weights as safetensors, everything else as JSON; and making one anew
that observes fewer or more channels.

Loading such a folder runs no code of whoever made it (an SB3 zip holds pickles, which can).
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
from spikepropamine.policies import off_policy
from spikepropamine.policies import spaces as own_spaces
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.fast import NETWORKS
from spikepropamine.policies.network import NetworkConfig, completed_network
from spikepropamine.policies.policy import (
    PlasticSpikingPolicy,
    ToldLstmPolicy,
    ToldMlpPolicy,
)
from spikepropamine.policies.spaces import (
    check_width,
    is_normalised,
    space_from_json,
    space_to_json,
)
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
    LookupError, TypeError, ValueError, AssertionError, ArithmeticError, AttributeError,
    RuntimeError, MemoryError,
)  # fmt: skip
"""What reading damaged contents can raise."""
POLICIES: dict[str, type[ActorCriticPolicy]] = {
    cls.__name__: cls for cls in NETWORKS if cls not in (ToldMlpPolicy, ToldLstmPolicy)
}
"""By name; one whose critic is told is saved as what it is without that, see `narrowed`."""
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
EXTRACTORS = (
    torch_layers.FlattenExtractor, torch_layers.NatureCNN, torch_layers.CombinedExtractor,
    own_spaces.LstmFlattenExtractor, own_spaces.LstmCombinedExtractor,
)  # fmt: skip
OF_ALL = (
    "net_arch", "ortho_init", "log_std_init", "critic_sees_spikes", "normalize_images",
)  # fmt: skip
OF_LSTM = ("lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm")
"""Constructor arguments that a policy folder may name, besides activation_fn and network."""


def save_policy(
    folder: Path,
    policy: ActorCriticPolicy,
    venv: VecNormalize | Normalisation | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes `policy.json`, `weights.safetensors` and, with `venv`, `normalisation.safetensors`.

    An older policy in `folder` is replaced as a whole, once the new one is complete.

    Args:
        folder: created if it is missing.
        policy: of a class in `POLICIES`.
        venv: the training environment's `VecNormalize`, if there is one, or its statistics.
        metadata: anything JSON can hold (the run's settings, versions).

    Raises:
        ValueError: a policy class or setting that the format does not know, or a `venv` that
            normalises something else than what the policy observes (below a `VecFrameStack`).
    """
    name = type(policy).__name__
    if name not in POLICIES:
        known = f"{', '.join(POLICIES)}; add yours to policies.export.POLICIES"
        raise ValueError(f"cannot export a {name}; the format knows {known}")
    normalisation = Normalisation.of(venv) if isinstance(venv, VecNormalize) else venv
    settings: dict[str, Any] | None = None
    statistics: dict[str, torch.Tensor] = {}
    if normalisation is not None:
        settings = {"clip": normalisation.clip, "epsilon": normalisation.epsilon}
        if "" not in normalisation.statistics:
            settings["keys"] = sorted(normalisation.statistics)
        for key, arrays in normalisation.statistics.items():
            named = zip((f"mean/{key}", f"var/{key}"), arrays)
            statistics |= {
                k.rstrip("/"): torch.as_tensor(np.asarray(x)) for k, x in named
            }
        found = {name: (list(x.shape), x.dtype) for name, x in statistics.items()}
        if found != _statistics_of(policy.observation_space, settings):
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
    if _shapes_of(
        _maker(parse_json(contents["policy.json"], "policy.json"))
    ) != _shapes(policy):
        raise ValueError(
            "cannot export this policy: its class makes other weights out of its arguments, as "
            "where it has another features extractor than by default"
        )
    with whole_folder(folder) as new:
        for file, content in contents.items():
            with whole_file(new / file) as part:
                part.write_bytes(content)


def load_policy(folder: Path | str) -> DeployedPolicy:
    """Loads what `save_policy` wrote.

    Names, types and sizes of what a file holds, and digests of all contents, are checked before
    memory is taken for it. A training may replace the policy meanwhile; then it is the newer one.

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
    for name in ("policy.json", "weights.safetensors"):
        if not (folder / name).exists():
            raise Missing(f"no policy in {folder}: {name} is missing")
    description = _read_description(folder / "policy.json")
    try:
        settings, digests = description["normalisation"], dict(description["sha256"])
        metadata = dict(description["metadata"])
        held = (folder / "weights.safetensors").stat().st_size
        for name in ("observation_space", "action_space"):
            check_width(description[name], most=held)
        make = _maker(description)
        shapes = _shapes_of(make)
        size = sum(prod(shape) * dtype.itemsize for shape, dtype in shapes.values())
        if size > held:
            raise ValueError(
                "it describes more weights than weights.safetensors, which may be cut, holds"
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
            keys = [
                name.removeprefix("mean") for name in sizes if name.startswith("mean")
            ]
            normalisation = Normalisation(
                {
                    k[1:]: (tensors[f"mean{k}"].numpy(), tensors[f"var{k}"].numpy())
                    for k in keys
                },
                float(settings["clip"]),
                float(settings["epsilon"]),
            )
    except BROKEN as error:
        raise Unreadable(
            f"the tensors in {folder} are damaged: {reason(error)}"
        ) from error
    return DeployedPolicy(policy, normalisation, metadata)


def _read_description(file: Path) -> dict[str, Any]:
    description = read_json(file, LARGEST_DESCRIPTION, inside=file.parent)
    version = description.get("format") if isinstance(description, dict) else None
    if version != FORMAT:
        raise Unreadable(
            f"{file} has format {shown(version)}, this version reads {FORMAT}"
        )
    if description.get("digest") != _digest(description):
        raise Unreadable(f"{file} is damaged: it is not what was written")
    return description


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
        scaled = arguments.get("normalize_images", True)
        arguments["features_extractor_class"] = own_spaces.extractor_for(
            observations, scaled
        )
    arguments["optimizer_class"] = NoOptimizer
    return partial(POLICIES[name], observations, actions, lambda _: 0.0, **arguments)


def _shapes_of(
    make: "partial[ActorCriticPolicy]",
) -> dict[str, tuple[list[int], torch.dtype]]:
    """Shapes and types of the weights of a policy that is not made, so that they take no memory."""
    attributes = {"device": torch.device("meta")}
    policy_class: Any = make.func
    cls: Any = type("OnMeta", (policy_class,), attributes)
    with torch.device("meta"), _ScaledByShape():
        return _shapes(cls(*make.args, **make.keywords))


class NoOptimizer:
    """Stands in for the optimiser of a policy that is loaded to act.

    PyTorch's optimisers import its compiler when they are made, which takes over a second.
    """

    def __init__(self, parameters: Any, **settings: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a loaded policy has no optimizer, and so no {name}; to train it, make one: "
            "policy.optimizer = policy.optimizer_class(policy.parameters(), lr=3e-4)"
        )


class _ScaledByShape(TorchFunctionMode):
    """Tensors on the meta device, multiplied or divided: tensors of the same shape.

    PyTorch imports its compiler for such arithmetic, which takes more than a second. Drawn
    weights are scaled when a policy is made, and their numbers do not matter here.
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


def _shapes(policy: nn.Module) -> dict[str, tuple[list[int], torch.dtype]]:
    return {name: (list(x.shape), x.dtype) for name, x in policy.state_dict().items()}


def _load(
    folder: Path,
    what: str,
    expected: Mapping[str, tuple[list[int], torch.dtype]],
    digests: Mapping[str, Any],
) -> dict[str, torch.Tensor]:
    """The tensors in a file, if their names, shapes and types are the expected ones."""
    file = folder / f"{what}.safetensors"
    most = sum(8 * prod(shape) for shape, _ in expected.values()) + LARGEST_DESCRIPTION
    digest = digests[file.name]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(f"the sha256 of {file.name} is {shown(digest)}, and no digest")
    found, _ = read_tensors(file, most, inside=folder, digest=digest)
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())
        raise ValueError(f"{file.name} should not have, or lacks, {', '.join(odd[:3])}")
    loaded = {name: torch.tensor(found[name]) for name in expected}
    for name, tensor in loaded.items():
        shape, dtype = expected[name]
        if list(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name} in {file.name} should be {shape} of {dtype}, "
                f"and is {list(tensor.shape)} of {tensor.dtype}"
            )
        if not tensor.isfinite().all():
            raise ValueError(f"{name} in {file.name} has numbers that are not finite")
    return loaded


def arguments_of(policy: ActorCriticPolicy) -> dict[str, Any]:
    """What a policy's class was made with, as plain values. Raises ValueError: something that the
    format does not know.
    """
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    if policy.activation_fn not in names:
        raise ValueError(
            f"cannot export the activation {policy.activation_fn.__name__}; "
            f"use {' or '.join(cls.__name__ for cls in names)}"
        )
    own = policy.features_extractor_kwargs.keys() - {
        "normalized_image"
    }  # which SB3 puts there
    if own or policy.features_extractor_class not in EXTRACTORS:
        raise ValueError(
            "cannot export a features extractor other than SB3's, as it is by default"
        )
    squashes = isinstance(policy, off_policy.Squashed)
    for name in ("use_sde", "squash_output", "lstm_kwargs"):
        if getattr(policy, name, None) and (name, squashes) != ("squash_output", True):
            raise ValueError(
                f"cannot export a policy with {name}={getattr(policy, name)}"
            )
    if not policy.share_features_extractor and any(
        policy.features_extractor.parameters()
    ):
        raise ValueError("cannot export a policy with share_features_extractor=False")
    arguments: dict[str, Any] = {"activation_fn": names[policy.activation_fn]}
    if isinstance(policy, PlasticSpikingPolicy):
        arguments["network"] = policy.network_config.as_dict()
    elif isinstance(policy, RecurrentActorCriticPolicy):
        lstm = policy.lstm_actor
        values = (
            lstm.hidden_size,
            lstm.num_layers,
            policy.shared_lstm,
            policy.enable_critic_lstm,
        )
        arguments |= dict(zip(OF_LSTM, values))
    return arguments | {
        name: getattr(policy, name) for name in OF_ALL if hasattr(policy, name)
    }


def _statistics_of(
    space: spaces.Space, settings: Mapping[str, Any]
) -> dict[str, tuple[list[int], torch.dtype]]:
    """Names, shapes and types of the statistics of observations; of a Dict, of those of its parts
    that are normalised, the settings' "keys".
    """
    boxes: dict[str, spaces.Space] = {"": space}
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
    """The same policy, of a class in `POLICIES` or one of the above, on the leading `channels` of
    its observations, a Box [channels or more]: as it is where the others are zero.
    """
    space: Any = policy.observation_space
    low, high = space.low[:channels], space.high[:channels]
    description = {
        "policy": next(
            c.__name__ for c in type(policy).__mro__ if c.__name__ in POLICIES
        ),
        "arguments": arguments_of(policy),
        "observation_space": space_to_json(spaces.Box(low, high, dtype=space.dtype)),
        "action_space": space_to_json(policy.action_space),
    }
    wide = policy.state_dict()
    with torch.random.fork_rng(
        devices=[]
    ):  # new weights are drawn, which nobody is to notice
        narrow = _maker(description)()
    state = narrow.state_dict()
    narrow.load_state_dict({name: wide[name][_leading(x)] for name, x in state.items()})
    return narrow


def widen(
    policy: ActorCriticPolicy, channels: int, state: dict[str, torch.Tensor]
) -> None:
    """Gives a policy the weights of one on its leading `channels`, and zero for the others. Raises
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
