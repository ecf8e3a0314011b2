"""Many environments side by side, for any algorithm."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym

from spikepropamine.envs import quiet_mujoco

if TYPE_CHECKING:
    from spikepropamine.envs.physics.vector import PhysicsVectorEnv
    from spikepropamine.training.simulated import Stock


def make_vec(
    env: str, count: int, *, threads: int = 1, seed: int | None = None, **arguments: Any
) -> "Stock":
    """Environments for Stable-Baselines3; Gymnasium's v5 MuJoCo tasks are stepped in
    one call.

    It replaces `stable_baselines3.common.env_util.make_vec_env`, and what it makes
    returns the same numbers, to the last bit, whatever the number of threads:

        model = PPO("MlpPolicy", make_vec("Ant-v5", 64, threads=2))

    An environment that cannot be stepped so is stepped as Stable-Baselines3 does; a
    warning of the logger "spikepropamine.physics" says why. `in_one_call` tells which
    it is.

    Args:
        env: id of a Gymnasium environment.
        count: of environments, at least 1.
        threads: which step environments at the same time, at least 1.
        seed: of the first environment and its action space; the next have the next
            numbers. None: any.
        arguments: of the environment, as for `gymnasium.make`.

    Returns:
        A `VecEnv`. A step gives observations [count, channels] in the type of the
        observation space, rewards float32 [count], dones bool [count], and the infos.
        At the end of an episode `info["episode"]` has what `Monitor` measures: return
        "r", length "l" and seconds "t".

    Raises:
        ValueError: `count` or `threads` is below 1.
        gymnasium.error.Error: the environment is not known, or cannot be made so.
    """
    from spikepropamine.training.simulated import Stock

    makers = _makers(env, count, threads, arguments)
    return Stock(makers, seed, threads, level=logging.WARNING)


def make_gymnasium_vec(
    env: str,
    count: int,
    *,
    threads: int = 1,
    autoreset: Literal["NextStep", "SameStep", "Disabled"] = "NextStep",
    **arguments: Any,
) -> "PhysicsVectorEnv":
    """Environments with Gymnasium's interface for vectors; Gymnasium's v5 MuJoCo tasks
    are stepped in one call.

    It replaces `gymnasium.make_vec`, and what it makes returns the same numbers, to the
    last bit, whatever the number of threads. It needs neither PyTorch nor
    Stable-Baselines3. For environments that cannot be stepped so, see `make_vec`.

    Args:
        env: id of a Gymnasium environment.
        count: of environments, at least 1.
        threads: which step environments at the same time, at least 1.
        autoreset: when the next episode begins, see Gymnasium's `AutoresetMode`.
        arguments: of the environment, as for `gymnasium.make`.

    Returns:
        A `VectorEnv`. A step gives observations [count, channels] in the type of the
        observation space, rewards float64 [count], terminated and truncated bool
        [count], and the infos, one array for each entry.

    Raises:
        ValueError: `count` or `threads` is below 1.
        gymnasium.error.Error: the environment is not known, or cannot be made so.
    """
    from spikepropamine.envs.physics.vector import PhysicsVectorEnv

    makers = _makers(env, count, threads, arguments)
    return PhysicsVectorEnv(makers, threads, autoreset, level=logging.WARNING)


def _makers(
    env: str, count: int, threads: int, arguments: dict[str, Any]
) -> list[Callable[[], gym.Env]]:
    if count < 1 or threads < 1:
        raise ValueError(
            f"count and threads must be at least 1, got {count} and {threads}"
        )
    entry = gym.spec(env).entry_point
    if isinstance(entry, str):
        gym.envs.registration.load_env_creator(entry)  # imports MuJoCo, if it is needed
    if "mujoco" in sys.modules:
        quiet_mujoco()
    return [partial(gym.make, env, **arguments)] * count
