"""Environment steps per second of whole training loops, policies in turn, one thread,
CPU time.

python -m benchmarks.throughput [--short] [--kind ppo|sac] [--env HalfCheetah-v5] [--csv
FILE]

Every policy is trained as configured and with hidden layers of one size, beside
Stable-Baselines3's own PPO on its own environments (`sb3`, with the settings of `mlp`)
and, where it is installed (benchmarks/requirements-sbx.txt), SBX's, which JAX compiles.
By SAC (suite `sac`) it is trained as configured and with Stable-Baselines3's settings
of SAC, beside that. The physics limit is what MuJoCo alone makes in the same process,
on random controls: no training can be faster. A step's time is split into physics, the
rest of the environments, inference (with all that is left of a rollout), the buffer,
and the update.
"""

import importlib
import importlib.util
import itertools
import os
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, run
from spikepropamine.agents import zoo
from spikepropamine.common import check_known
from spikepropamine.training.environments import env_maker, make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}
"""Modules with a PPO of Stable-Baselines3's interface."""
POLICIES = ["mlp", "snn", "ndp-oja", "lstm", "lstm-stock"]
PARTS = ("physics", "environments", "inference", "buffer", "update")
PHYSICS_STEPS = 4000  # per round
STEPS = 512  # of SAC per round
SB3: dict[str, Any] = {
    "learning_rate": 3e-4, "learning_starts": 100, "batch_size": 256, "tau": 0.005,
    "train_freq": 1, "gradient_steps": 1, "policy_delay": 1, "critic": (256, 256),
}  # fmt: skip
"""Stable-Baselines3's settings of SAC."""
Clock = defaultdict[str, float]


def measure(rows: Rows, options: Namespace) -> None:
    """Adds each policy and size, Stable-Baselines3's own algorithm first, of its
    fastest round (`short`: of one).
    """
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false"
    )  # JAX's one thread
    keep_freed_memory()
    check_known("kind", options.kind, ("ppo", "sac"))
    env = options.env
    cases = _cases(options)
    suite = {"suite": "sac"} if options.kind == "sac" else {}
    clocks: dict[Any, Clock] = {case: defaultdict(float) for case in cases}
    for case, algorithm in cases.items():
        algorithm.set_logger(Logger(None, []))
        learn(algorithm)  # compiles and warms up
        _time(algorithm, clocks[case])
    physics = _physics(env) if _is_simulated(env) else None
    limits: list[float] = []
    fastest: dict[Any, dict[str, float]] = {}
    for _ in range(1 if options.short else options.rounds):
        limits.append(0.0 if physics is None else physics())
        for case, algorithm in cases.items():
            clocks[case].clear()
            start = time.process_time()
            learn(algorithm)
            clocks[case]["all"] = time.process_time() - start
            if case not in fastest or clocks[case]["all"] < fastest[case]["all"]:
                fastest[case] = dict(clocks[case])
    limit = min(limits)
    first, *_ = cases
    sb3 = cases[first]
    least = fastest[first]["all"] / _steps(sb3)
    for (policy, size), algorithm in cases.items():
        steps = _steps(algorithm)
        each = {
            part: seconds / steps for part, seconds in fastest[policy, size].items()
        }
        measures = {"steps_per_second": round(1 / each["all"])}
        measures["relative_to_sb3"] = round(least / each["all"], 3)
        measures["share_of_physics_limit"] = round(limit / each["all"], 3)
        inference = each["rollout"] - each["environments"] - each["buffer"]
        parts = each | {"inference": inference, "physics": limit}
        parts["environments"] -= limit
        measures |= {f"{part}_us": round(1e6 * parts[part], 1) for part in PARTS}
        like = sb3 if policy in PEERS else algorithm
        measures["actor_parameters"] = zoo.actor_parameters(like.policy)
        rows.add(measures, environment=env, policy=policy, setting=size, **suite)


def _cases(options: Namespace) -> dict[tuple[str, str], Any]:
    """Algorithms by policy and size, or by policy and settings; Stable-Baselines3's own
    first.
    """
    env = options.env
    off_policy = options.kind == "sac"
    cases = dict[tuple[str, str], Any]()
    sizes = "configured", "x".join(map(str, options.hidden))
    if off_policy:
        sizes = "SB3's", "configured"
        cases["sb3", "SB3's"] = SAC(
            "MlpPolicy", make_vec_env(env, seed=0), device="cpu"
        )
    for name, library in PEERS.items():
        if not off_policy and importlib.util.find_spec(library) is not None:
            cases[name, "configured"] = _peer(
                env, name, importlib.import_module(library)
            )
    for size, policy in itertools.product(sizes, options.policies):
        if off_policy and policy == "lstm-stock":
            continue
        settings = defaults(env, policy, kind=options.kind)
        network = settings.network
        if size == "SB3's":
            settings = replace(
                settings, n_envs=1, trainer=replace(settings.trainer, **SB3)
            )
        elif size != "configured":
            network = replace(network, hidden=tuple(options.hidden))
        cases[policy, size] = zoo.build(
            policy, make_envs(settings), network, settings.trainer
        )
    return cases


def _peer(env: str, name: str, library: Any) -> Any:
    """The PPO of a library with the settings of `mlp`, on Stable-Baselines3's
    environments.
    """
    settings = defaults(env, "mlp")

    def create(
        venv: Any, network: Any, trainer: Any, backend: str, arguments: Any
    ) -> Any:
        widths = {"pi": list(network.hidden), "vf": list(trainer.critic)}
        arguments["policy_kwargs"]["net_arch"] = widths
        return library.PPO("MlpPolicy", venv, **arguments)

    zoo.register(name, zoo.Agent(f"{library.__name__}'s own PPO", create))
    venv = VecNormalize(
        make_vec_env(env_maker(settings), settings.n_envs, settings.seed),
        norm_obs=settings.normalize_observations,
        norm_reward=settings.normalize_rewards,
        gamma=settings.trainer.gamma,
    )
    return zoo.build(name, venv, settings.network, settings.trainer)


def learn(algorithm: Any) -> None:
    """One rollout and update of PPO; so many steps of SAC."""
    algorithm.learn(_steps(algorithm), reset_num_timesteps=False)


def _steps(algorithm: Any) -> int:
    return STEPS if isinstance(algorithm, SAC) else algorithm.n_steps * algorithm.n_envs


def _time(algorithm: Any, clock: Clock) -> None:
    """From now on adds up the CPU time of parts of a training in a clock."""

    def timed(owner: Any, name: str, part: str) -> None:
        function = getattr(owner, name)

        def called(*arguments: Any, **keywords: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **keywords)
            clock[part] += time.process_time() - start
            return result

        setattr(owner, name, called)

    timed(algorithm, "collect_rollouts", "rollout")
    timed(algorithm, "train", "update")
    timed(algorithm.env, "step", "environments")
    if isinstance(algorithm, SAC):
        timed(algorithm.replay_buffer, "add", "buffer")
        return
    for name in ("add", "compute_returns_and_advantage"):
        timed(algorithm.rollout_buffer, name, "buffer")


def _is_simulated(env: str) -> bool:
    """Whether MuJoCo steps a task, which then has a limit."""
    task: Any = gym.make(env).unwrapped
    return hasattr(task, "frame_skip")


def _physics(env: str) -> Callable[[], float]:
    """Measures the seconds that MuJoCo takes for an environment step, on random
    controls.
    """
    task: Any = gym.make(env).unwrapped
    random = np.random.default_rng(0)
    low, high = task.model.actuator_ctrlrange.T
    controls = random.uniform(low, high, (PHYSICS_STEPS, len(low)))

    def seconds() -> float:
        task.reset(seed=0)
        start = time.process_time()
        for control in controls:
            task.data.ctrl[:] = control
            mujoco.mj_step(task.model, task.data, nstep=task.frame_skip)
        return (time.process_time() - start) / PHYSICS_STEPS

    return seconds


if __name__ == "__main__":
    sizes = {"policies": POLICIES, "hidden": [64, 64], "rounds": 5, "short": False}
    run(measure, __doc__, kind="ppo", env="HalfCheetah-v5", **sizes)
