"""A model of one's own script as a run folder, which every command of this project
takes.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common import vec_env
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from spikepropamine.folder import POLICY_NAME, RunFolder
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.baselines import GruPolicy
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.export import save_policy

PLAIN = ("Monitor", "Checked")
"""Wrappers that change neither what is observed nor what is done."""
SIDE_BY_SIDE = (
    vec_env.VecNormalize,
    vec_env.VecTransposeImage,
    vec_env.VecMonitor,
    vec_env.VecCheckNan,
)
"""Wrappers that are undone."""
LEARNED_BY = (
    "learning_rate",
    "n_steps",
    "batch_size",
    "n_epochs",
    "gamma",
    "gae_lambda",
    "sequence_length",
    "buffer_size",
    "learning_starts",
    "tau",
    "gradient_steps",
    "policy_delay",
)
"""Settings of the trainer that a model says, where they are numbers."""


def save_run(
    folder: Path | str,
    model: BaseAlgorithm,
    name: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the policy of a model, and its task, as a run folder that every command
    takes, and returns the folder.

    Args:
        folder: created if it is missing; a policy that is there is replaced, unless it
            was trained by `train.py`.
        model: of an environment that Gymnasium can make again by its id and arguments,
            perhaps in `Perturbed` and `PreviousActionAndReward`, and perhaps in
            `VecNormalize`.
        name: of the policy: letters, digits, _, + and -. None: what `train.py` would
            call it.
        overwrite: removes the evaluations of a policy that is replaced.

    Raises:
        ValueError: the environment is not registered, has other wrappers or arguments
            that JSON does not have, or is in more than one `VecNormalize`; the policy
            is of a class that cannot be saved without code or has a critic that is
            told; the name is none; or the folder has something else.
    """
    venv = model.get_env()
    run = RunFolder(Path(folder))
    if venv is None:
        raise ValueError("the model has no environment; give it one by set_env")
    if run.config.exists():
        raise ValueError(
            f"{run.path} has a training of `train.py`; give another folder"
        )
    if run.evaluations.exists() and not overwrite:
        raise ValueError(
            f"{run.path} has evaluations of another policy; give another folder, or "
            "overwrite=True"
        )
    if getattr(model.policy, "told", 0):
        raise ValueError(
            "the critic is told what the environment shows; only `train.py` hides it"
        )
    _check_normalised_once(venv)
    policy = actor_of(model.policy)
    name = name or _name(policy)
    if not POLICY_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not the name of a policy: letters, digits, _, + and -"
        )
    metadata = {
        "settings": _settings(model, venv, policy, name),
        "steps": model.num_timesteps,
    }
    save_policy(run.policy, policy, model.get_vec_normalize_env(), metadata)
    if run.evaluations.exists():
        shutil.rmtree(run.evaluations)
    return run.path


def _settings(
    model: BaseAlgorithm, venv: VecEnv, policy: ActorCriticPolicy, name: str
) -> dict[str, Any]:
    """Settings of a training, as far as a model says them. Raises ValueError: JSON does
    not have the arguments of the task.
    """
    trainer = {}
    for setting in LEARNED_BY:
        value = getattr(model, setting, None)
        if isinstance(value, int | float):
            trainer[setting] = value
    settings: dict[str, Any] = {
        **_task_of(venv),
        "policy": name,
        "seed": model.seed or 0,
        "n_envs": model.n_envs,
        "trainer": trainer,
    }
    if isinstance(policy, PlasticSpikingPolicy):
        settings["network"] = policy.network_config.as_dict()
    _written(settings)  # refuses what JSON does not have
    return settings


def bare(venv: VecEnv | None) -> VecEnv:
    """Environments without wrappers that can be undone. Raises ValueError: there are
    others.
    """
    while isinstance(venv, VecEnvWrapper):
        if not isinstance(venv, SIDE_BY_SIDE):
            raise ValueError(
                f"nothing is known here of {type(venv).__name__}; leave it out"
            )
        venv = venv.venv
    assert venv is not None
    return venv


def _check_normalised_once(venv: Any) -> None:
    """Raises ValueError where one VecNormalize wraps another: one would be lost."""
    normalisers = 0
    while isinstance(venv, VecEnvWrapper):
        if isinstance(venv, vec_env.VecNormalize):
            normalisers += 1
        venv = venv.venv
    if normalisers > 1:
        raise ValueError(
            f"the environments are in {normalisers} VecNormalize, one in the other, "
            "and a policy is saved with one; leave the others out"
        )


def _task_of(venv: VecEnv) -> dict[str, Any]:
    """What all environments were made of, as settings of a run."""
    specs = bare(venv).get_attr("spec")
    if any(spec is None for spec in specs):
        raise ValueError(
            "the environment is not registered with Gymnasium, so it has no id"
        )
    # wrappers that cannot be written are named before environments are compared
    tasks = [_task(spec) for spec in specs]
    if len({_written(task) for task in tasks}) > 1:
        raise ValueError("the environments side by side are not alike")
    return tasks[0]


def _written(settings: Mapping[str, Any]) -> str:
    """Settings as JSON. Raises ValueError: JSON does not have them."""
    try:
        return json.dumps(settings, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"the task's arguments cannot be written: {error}") from error


def _task(spec: Any) -> dict[str, Any]:
    """Environment, arguments and wrappers, as settings of a training."""
    registered = gym.spec(spec.id)
    arguments = {k: v for k, v in spec.kwargs.items() if registered.kwargs.get(k) != v}
    arguments.pop("render_mode", None)
    if spec.max_episode_steps != registered.max_episode_steps:
        if spec.max_episode_steps is None:
            raise ValueError(
                "the environment has no time limit, but that of its id has one"
            )
        arguments["max_episode_steps"] = spec.max_episode_steps
    task = {"env": spec.id, "env_kwargs": arguments, "perturb": None, "previous": False}
    for wrapper in spec.additional_wrappers:
        arguments_of_wrapper: Mapping[str, Any] = wrapper.kwargs or {}
        is_first = not task["previous"]
        if wrapper.name == "Perturbed" and is_first and task["perturb"] is None:
            task["perturb"] = arguments_of_wrapper["text"]
        elif wrapper.name == "PreviousActionAndReward" and is_first:
            task["previous"] = True
        elif wrapper.name not in PLAIN:
            raise ValueError(
                f"the environment is wrapped in {wrapper.name}; register one that is "
                "made with it"
            )
    return task


def _name(policy: ActorCriticPolicy) -> str:
    """What `train.py` would call a policy."""
    if isinstance(policy, PlasticSpikingPolicy):
        network = policy.network_config
        if network.rule == "none":
            return "rsnn" if any(network.recurrent) else "snn"
        prefix = "dp" if network.modulation == "none" else "ndp"
        return f"{prefix}-{network.rule}"
    if isinstance(policy, RecurrentActorCriticPolicy):
        memory = "gru" if isinstance(policy, GruPolicy) else "lstm"
        has_heads = len(policy.mlp_extractor.policy_net) > 0
        return memory if has_heads else f"{memory}-linear"
    return "mlp"
