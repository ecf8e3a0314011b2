"""A model of one's own script as a run folder, which every command of this project takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from spikepropamine.folder import RunFolder
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.export import save_policy

PLAIN = ("Monitor",)  # wrappers that change neither what is observed nor what is done


def save_run(folder: Path | str, model: OnPolicyAlgorithm, name: str | None = None) -> Path:
    """Writes the policy of a model, and what task it was trained in, as a run folder: then
    `spikepropamine evaluate FOLDER`, `enjoy`, `export` and the rest know it.

    Args:
        folder: created if it is missing; a policy that is there is replaced.
        model: of an environment that Gymnasium can make again by its id and arguments, perhaps in
            `Perturbed` and `PreviousActionAndReward`, and perhaps in `VecNormalize`.
        name: of the policy: letters, digits, _, + and -. None: what `train.py` would call it.

    Returns:
        The folder.

    Raises:
        ValueError: the environment is not registered or has other wrappers, or the policy is of a
            class that cannot be saved without code.
    """
    venv, run = model.get_env(), RunFolder(Path(folder))
    if venv is None:
        raise ValueError("the model has no environment; give it one by set_env")
    specs = [spec for spec in venv.get_attr("spec") if spec is not None]
    if not specs:
        raise ValueError("the environment is not registered with Gymnasium, so it has no id")
    network = getattr(model.policy, "network_config", None)
    settings: dict[str, Any] = {
        **_task(specs[0]),
        "policy": name or _name(model.policy),
        "seed": model.seed or 0,
        "n_envs": model.n_envs,
    }
    if network is not None:
        settings["network"] = {**vars(network)}
    save_policy(
        run.policy,
        model.policy,
        model.get_vec_normalize_env(),
        {"settings": settings, "steps": model.num_timesteps},
    )
    return run.path


def _task(spec: Any) -> dict[str, Any]:
    """Environment, arguments and wrappers, as settings of a training."""
    registered = gym.spec(spec.id)
    arguments = {k: v for k, v in spec.kwargs.items() if registered.kwargs.get(k) != v}
    arguments.pop("render_mode", None)
    if spec.max_episode_steps != registered.max_episode_steps:
        arguments["max_episode_steps"] = spec.max_episode_steps
    task = {"env": spec.id, "env_kwargs": arguments, "perturb": None, "previous": False}
    for wrapper in spec.additional_wrappers:
        kwargs: Mapping[str, Any] = wrapper.kwargs or {}
        if wrapper.name == "Perturbed" and not task["previous"] and task["perturb"] is None:
            task["perturb"] = kwargs["text"]
        elif wrapper.name == "PreviousActionAndReward":
            task["previous"] = True
        elif wrapper.name not in PLAIN:
            raise ValueError(
                f"the environment is wrapped in {wrapper.name}; register one that is made with it"
            )
    return task


def _name(policy: Any) -> str:
    if not isinstance(policy, PlasticSpikingPolicy):
        return "lstm" if isinstance(policy, RecurrentActorCriticPolicy) else "mlp"
    network = policy.network_config
    if network.rule == "none":
        return "rsnn" if any(network.recurrent) else "snn"
    return f"{'dp' if network.modulation == 'none' else 'ndp'}-{network.rule}"
