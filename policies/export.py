"""Saving a policy for others: weights as safetensors, everything else as JSON.

Loading such a folder runs no code of whoever made it (an SB3 zip holds pickles, which can).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from stable_baselines3.common.policies import (
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from spikepropamine.policies.network import NetworkConfig
from spikepropamine.policies.policy import PlasticSpikingPolicy

FORMAT = 1
POLICIES: dict[str, type[ActorCriticPolicy]] = {
    cls.__name__: cls
    for cls in (
        PlasticSpikingPolicy,
        ActorCriticPolicy,
        MultiInputActorCriticPolicy,
        RecurrentActorCriticPolicy,
        RecurrentMultiInputActorCriticPolicy,
    )
}
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
# the constructor arguments that a policy folder may name, besides activation_fn and network
ARGUMENTS = (
    "net_arch",
    "ortho_init",
    "log_std_init",
    "critic_sees_spikes",
    "lstm_hidden_size",
    "n_lstm_layers",
    "shared_lstm",
    "enable_critic_lstm",
)


class Normalisation:
    """The observation statistics of a `VecNormalize`, frozen.

    Args:
        mean, var: arrays shaped like the observation, or for a Dict observation a dict of them.
        clip: bound of the normalised values.
        epsilon: added to the variance.
    """

    def __init__(self, mean: Any, var: Any, clip: float, epsilon: float) -> None:
        self.mean, self.var, self.clip, self.epsilon = mean, var, clip, epsilon

    @classmethod
    def of(cls, venv: VecNormalize) -> "Normalisation | None":
        """The current statistics of `venv`; None when it leaves observations as they are."""
        if not venv.norm_obs:
            return None
        if isinstance(venv.obs_rms, RunningMeanStd):
            mean, var = venv.obs_rms.mean, venv.obs_rms.var
        else:
            mean = {key: rms.mean for key, rms in venv.obs_rms.items()}
            var = {key: rms.var for key, rms in venv.obs_rms.items()}
        return cls(mean, var, venv.clip_obs, venv.epsilon)

    def give(self, venv: VecNormalize) -> None:
        """Lets `venv` go on from these statistics, as if it had seen as many observations.

        Raises:
            ValueError: observations of another structure.
        """
        pairs = [(venv.obs_rms, self.mean, self.var)]
        if isinstance(self.mean, dict):
            if not isinstance(venv.obs_rms, dict) or venv.obs_rms.keys() != self.mean.keys():
                raise ValueError("its observations are of another structure")
            pairs = [(rms, self.mean[key], self.var[key]) for key, rms in venv.obs_rms.items()]
        for rms, mean, var in pairs:
            rms.mean, rms.var, rms.count = mean.copy(), var.copy(), 1e6

    def __call__(self, observation: Any) -> Any:
        """Normalised observations, float32, of the same structure."""
        if not isinstance(observation, dict):
            return self._apply(observation, self.mean, self.var)
        return {
            key: self._apply(x, self.mean[key], self.var[key]) if key in self.mean else x
            for key, x in observation.items()
        }

    def _apply(self, x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        scaled = (x - mean) / np.sqrt(var + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


class DeployedPolicy:
    """A loaded policy with its normalisation: raw observations in, actions out.

    Attributes:
        policy: the SB3 policy.
        normalisation: applied to observations, or None.
        metadata: what was stored beside it.
    """

    def __init__(
        self, policy: BasePolicy, normalisation: Normalisation | None, metadata: dict[str, Any]
    ) -> None:
        self.policy, self.normalisation, self.metadata = policy, normalisation, metadata

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """As the `predict` of any SB3 policy, on observations as the environment gives them."""
        if self.normalisation is not None:
            observation = self.normalisation(observation)
        return self.policy.predict(observation, state, episode_start, deterministic)


def save_policy(
    folder: Path,
    policy: ActorCriticPolicy,
    venv: VecNormalize | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes `policy.json`, `weights.safetensors` and, with `venv`, `normalisation.safetensors`.

    An older policy in `folder` is replaced as a whole, once the new one is complete.

    Args:
        folder: created if it is missing.
        policy: of a class in `POLICIES`.
        venv: the training environment's `VecNormalize`, if there is one.
        metadata: anything JSON can hold (the run's settings, versions).

    Raises:
        ValueError: a policy class or setting that the format does not know.
    """
    name = type(policy).__name__
    if name not in POLICIES:
        raise ValueError(f"cannot export a {name}; the format knows {', '.join(POLICIES)}")
    normalisation = Normalisation.of(venv) if venv is not None else None
    description = {
        "format": FORMAT,
        "policy": name,
        "arguments": _arguments(policy),
        "observation_space": space_to_json(policy.observation_space),
        "action_space": space_to_json(policy.action_space),
        "normalisation": normalisation
        and {"clip": normalisation.clip, "epsilon": normalisation.epsilon},
        "metadata": dict(metadata or {}),
    }
    text = json.dumps(description, indent=2) + "\n"
    weights = {k: v.detach().cpu().clone() for k, v in policy.state_dict().items()}
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    # not `save_file`, which makes files that nobody else may read
    (new / "weights.safetensors").write_bytes(save(weights))
    if normalisation is not None:
        statistics = save(_statistics(normalisation))
        (new / "normalisation.safetensors").write_bytes(statistics)
    (new / "policy.json").write_text(text)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def load_policy(folder: Path) -> DeployedPolicy:
    """Loads what `save_policy` wrote.

    Raises:
        FileNotFoundError: no policy there; the message names the missing file.
        ValueError: another format, or damaged contents.
    """
    for name in ("policy.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no policy in {folder}: {name} is missing")
    try:
        description = json.loads((folder / "policy.json").read_text())
        if description["format"] != FORMAT:
            raise ValueError(
                f"{folder / 'policy.json'} has format {description['format']}, "
                f"this version reads format {FORMAT}"
            )
        arguments = {k: v for k, v in description["arguments"].items() if k in ARGUMENTS}
        arguments["activation_fn"] = ACTIVATIONS[description["arguments"]["activation_fn"]]
        if "network" in description["arguments"]:
            # older ones do not say how their fast weights decay
            network = {"decay": "plain"} | description["arguments"]["network"]
            arguments["network"] = NetworkConfig.of(network)
        policy = POLICIES[description["policy"]](
            space_from_json(description["observation_space"]),
            space_from_json(description["action_space"]),
            lr_schedule=lambda _: 0.0,
            **arguments,
        )
        settings = description["normalisation"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / 'policy.json'} is damaged: {error}") from error
    normalisation = None
    try:
        policy.load_state_dict(load_file(str(folder / "weights.safetensors")))
        if settings is not None:
            tensors = load_file(str(folder / "normalisation.safetensors"))
            normalisation = Normalisation(*_from_statistics(tensors), **settings)
    except (RuntimeError, SafetensorError) as error:  # a mismatch, or a damaged file
        raise ValueError(f"the tensors in {folder} are damaged: {error}") from error
    policy.set_training_mode(False)
    return DeployedPolicy(policy, normalisation, description["metadata"])


def _arguments(policy: ActorCriticPolicy) -> dict[str, Any]:
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    if policy.activation_fn not in names:
        raise ValueError(f"cannot export the activation {policy.activation_fn}; use {names}")
    arguments: dict[str, Any] = {"activation_fn": names[policy.activation_fn]}
    if isinstance(policy, PlasticSpikingPolicy):
        arguments["network"] = policy.network_config.as_dict()
    elif isinstance(policy, RecurrentActorCriticPolicy):
        lstm = policy.lstm_actor
        arguments |= {"lstm_hidden_size": lstm.hidden_size, "n_lstm_layers": lstm.num_layers}
        arguments |= {"shared_lstm": policy.shared_lstm}
        arguments |= {"enable_critic_lstm": policy.enable_critic_lstm}
    for name in ("net_arch", "ortho_init", "log_std_init", "critic_sees_spikes"):
        if hasattr(policy, name):
            arguments[name] = getattr(policy, name)
    return arguments


def _statistics(normalisation: Normalisation) -> dict[str, torch.Tensor]:
    parts = {"mean": normalisation.mean, "var": normalisation.var}
    tensors = {}
    for part, value in parts.items():
        for key, array in value.items() if isinstance(value, dict) else [("", value)]:
            tensors[f"{part}/{key}" if key else part] = torch.as_tensor(np.asarray(array))
    return tensors


def _from_statistics(tensors: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    def part(name: str) -> Any:
        if name in tensors:
            return tensors[name].numpy()
        return {k.split("/", 1)[1]: v.numpy() for k, v in tensors.items() if k.startswith(name)}

    return part("mean"), part("var")


def space_to_json(space: spaces.Space) -> dict[str, Any]:
    """A plain description of a Box, Discrete, MultiDiscrete, MultiBinary or Dict space."""
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {k: space_to_json(v) for k, v in space.items()}}
    if isinstance(space, spaces.Box):
        bounds = {"low": space.low.tolist(), "high": space.high.tolist()}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype)} | bounds
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    raise ValueError(
        f"{type(space).__name__} spaces are not supported; "
        "use Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them"
    )


def space_from_json(description: Mapping[str, Any]) -> spaces.Space:
    """The space that `space_to_json` described."""
    kind = description["type"]
    if kind == "Dict":
        return spaces.Dict({k: space_from_json(v) for k, v in description["spaces"].items()})
    if kind == "Box":
        dtype = np.dtype(description["dtype"])
        low, high = (np.array(description[k], dtype=dtype) for k in ("low", "high"))
        return spaces.Box(low, high, tuple(description["shape"]), dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(description["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(description["n"])
    raise ValueError(f"unknown space type {kind!r}")
