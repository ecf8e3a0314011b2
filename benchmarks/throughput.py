"""Environment steps per second of whole training loops, policies in turn, one thread,
CPU time.

python -m benchmarks.throughput [--short] [--kind ppo|sac] [--env HalfCheetah-v5] [--csv
FILE]

Every policy is trained as configured and with hidden layers of one size, beside
Stable-Baselines3's own PPO on its own environments (`sb3`, with the settings of `mlp`)
and, where it is installed (benchmarks/requirements-sbx.txt), SBX's, which JAX compiles.
With SAC (suite `sac`) it is trained as configured and with Stable-Baselines3's settings
of SAC, beside Stable-Baselines3's SAC and SBX's with these.

Times are of the fastest round; "times SB3's" is the median over the rounds of a ratio
of two times in one round. The physics limit is what MuJoCo alone makes in the same
process, on random controls: no training can be faster. A step's time is split into
physics, the rest of the environments, inference (with all that is left of a rollout),
the buffer, and the update.
"""

import importlib
import importlib.util
import os
import statistics
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, run
from spikepropamine.agents import zoo
from spikepropamine.common import check_known
from spikepropamine.training.environments import env_maker, make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults
from spikepropamine.training.settings import Settings

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}
"""Modules with PPO and SAC of Stable-Baselines3's interface."""
POLICIES = ["mlp", "snn", "ndp-oja", "lstm", "lstm-stock"]
PARTS = ("physics", "environments", "inference", "buffer", "update")
PHYSICS_STEPS = 4000  # per round
STEPS = 128  # of SAC per round
WARM_UP = 512  # of SAC before the first round: more than it takes to begin with updates
SB3: dict[str, Any] = {
    "learning_rate": 3e-4, "learning_starts": 100, "batch_size": 256, "tau": 0.005,
    "train_freq": 1, "gradient_steps": 1, "policy_delay": 1, "critic": (256, 256),
}  # fmt: skip
"""Stable-Baselines3's settings of SAC."""
Clock = defaultdict[str, float]
"""Seconds by parts of a training."""
Case = tuple[str, str]
"""Policy, and size or settings."""


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
    suite = {}
    if options.kind == "sac":
        suite = {"suite": "sac"}
        cases = _sac_cases(env, options.policies)
    else:
        cases = _ppo_cases(env, options.policies, options.hidden)
    clocks: dict[Case, Clock] = {case: defaultdict(float) for case in cases}
    for case, algorithm in cases.items():
        algorithm.set_logger(Logger(None, []))
        warm_up(algorithm)
        time_parts(algorithm, clocks[case])
    physics = _physics(env) if _is_simulated(env) else None
    limits: list[float] = []
    rounds: dict[Case, list[Clock]] = {case: [] for case in cases}
    for _ in range(1 if options.short else options.rounds):
        limits.append(0.0 if physics is None else physics())
        for case, algorithm in cases.items():
            rounds[case].append(round_of(algorithm, clocks[case]))

    limit = min(limits)
    first, *_ = cases
    sb3 = cases[first]
    for case, algorithm in cases.items():
        policy, setting = case
        fastest = min(rounds[case], key=lambda clock: clock["all"])
        pairs = zip(rounds[first], rounds[case])
        ratios = [theirs["all"] / ours["all"] for theirs, ours in pairs]
        measures = {
            "steps_per_second": round(1 / fastest["all"]),
            "relative_to_sb3": round(statistics.median(ratios), 3),
            "share_of_physics_limit": round(limit / fastest["all"], 3),
        }
        inference = fastest["rollout"] - fastest["environments"] - fastest["buffer"]
        parts = fastest | {"inference": inference, "physics": limit}
        parts["environments"] -= limit
        measures |= {f"{part}_us": round(1e6 * parts[part], 1) for part in PARTS}
        like = sb3 if policy in PEERS else algorithm
        measures["actor_parameters"] = zoo.actor_parameters(like.policy)
        rows.add(measures, environment=env, policy=policy, setting=setting, **suite)


def round_of(algorithm: Any, clock: Clock) -> Clock:
    """Seconds a step of a round of training, as a whole ("all") and by parts, which are
    added up in a clock.
    """
    clock.clear()
    start = time.process_time()
    learn(algorithm)
    clock["all"] = time.process_time() - start
    steps = _steps(algorithm)
    return Clock(float, {part: seconds / steps for part, seconds in clock.items()})


def _installed() -> dict[str, Any]:
    """Peers that are installed, by name."""
    return {
        name: importlib.import_module(module)
        for name, module in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }


def _ppo_cases(env: str, policies: list[str], hidden: list[int]) -> dict[Case, Any]:
    """PPO by policy and size, that of the peers first."""
    cases: dict[Case, Any] = {}
    for name, library in _installed().items():
        cases[name, "configured"] = _peer(env, name, library)
    for policy in policies:
        settings = defaults(env, policy)
        cases[policy, "configured"] = algorithm_of(settings)
    for policy in policies:
        settings = defaults(env, policy)
        network = replace(settings.network, hidden=tuple(hidden))
        size = "x".join(map(str, hidden))
        cases[policy, size] = algorithm_of(replace(settings, network=network))
    return cases


def _sac_cases(env: str, policies: list[str]) -> dict[Case, Any]:
    """SAC by policy and settings, that of the peers first."""
    cases: dict[Case, Any] = {}
    for name, library in _installed().items():
        venv = make_vec_env(env, seed=0)
        cases[name, "SB3's"] = library.SAC("MlpPolicy", venv, device="cpu")
    policies = [policy for policy in policies if policy != "lstm-stock"]
    for policy in policies:
        settings = defaults(env, policy, kind="sac")
        trainer = replace(settings.trainer, **SB3)
        theirs = replace(settings, n_envs=1, trainer=trainer)
        cases[policy, "SB3's"] = algorithm_of(theirs)
    for policy in policies:
        cases[policy, "configured"] = algorithm_of(defaults(env, policy, kind="sac"))
    return cases


def algorithm_of(settings: Settings) -> Any:
    """What settings of a training describe."""
    return zoo.build(
        settings.policy, make_envs(settings), settings.network, settings.trainer
    )


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


def warm_up(algorithm: Any) -> None:
    """Compiles what is compiled, and trains until updates have begun."""
    done = 0
    while done < WARM_UP:
        learn(algorithm)
        done += _steps(algorithm)


def learn(algorithm: Any) -> None:
    """One rollout and update of PPO; so many steps of SAC."""
    algorithm.learn(_steps(algorithm), reset_num_timesteps=False)


def _steps(algorithm: Any) -> int:
    if isinstance(algorithm, OffPolicyAlgorithm):
        return STEPS
    return algorithm.n_steps * algorithm.n_envs


def time_parts(algorithm: Any, clock: Clock) -> None:
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
    if isinstance(algorithm, OffPolicyAlgorithm):
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
