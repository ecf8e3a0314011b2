"""CPU time of MuJoCo tasks' steps, in turn with what MuJoCo alone takes for them.

python -m benchmarks.physics [--envs ENV...] [--counts N...]
    [--envpool PYTHON] [--csv FILE]

Ways are stepped in turn, a few steps each, with random actions: MuJoCo's `mj_step`
alone, in a loop over as many simulations in the same states; the vectorised
environments of `make_gymnasium_vec` and of `make_vec`, with all that they return and
with the episodes that begin; Gymnasium's SyncVectorEnv; and EnvPool, where `--envpool`
names a Python that has it. Reported are medians of ratios within a round:
`share_of_mj_step` is the time of `mj_step` relative to that of a way. All have one
thread; with `--threads` a last row has the elapsed time of one thread relative to that
of so many, which wants an idle machine.
"""

import subprocess
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.vector import SyncVectorEnv

import spikepropamine as sp
from benchmarks.rows import Rows, run
from spikepropamine.envs import quiet_mujoco

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
STEPS = 640  # of environments in a round, for each way
WARM = 60  # steps before the first round: robots are where random actions bring them
ENVPOOL = """
import sys, time
import envpool, numpy as np

for line in sys.stdin:
    name, count, steps = line.split()
    if steps == "make":
        envs = envpool.make(name, "gymnasium", num_envs=int(count), num_threads=1)
        envs.reset()
        space, random = envs.action_space, np.random.default_rng(0)
        print(0.0, flush=True)
        continue
    low, high = space.low, space.high
    actions = random.uniform(low, high, (int(steps), int(count), *low.shape))
    actions = actions.astype(low.dtype)
    start = time.process_time()
    for action in actions:
        envs.step(action)
    print(time.process_time() - start, flush=True)
"""
Seconds = Callable[[np.ndarray], float]
"""From actions [steps, environments, channels] to the CPU seconds that a way takes."""


class RawSteps:
    """MuJoCo's `mj_step` alone, from the states, and with the models, that other
    environments have.
    """

    def __init__(self, name: str, sources: Sequence[Any]) -> None:
        self._sources = sources
        self._tasks: list[Any] = [gym.make(name).unwrapped for _ in sources]
        size = mujoco.mj_stateSize(self._tasks[0].model, STATE)
        self._state = np.zeros(size)

    def __call__(self, actions: np.ndarray) -> float:
        """CPU seconds; the states are taken over before."""
        for source, task in zip(self._sources, self._tasks):
            mujoco.mj_getState(source.model, source.data, self._state, STATE)
            mujoco.mj_setState(source.model, task.data, self._state, STATE)
        parts = [
            (source.model, task.data, task.data.ctrl)
            for source, task in zip(self._sources, self._tasks)
        ]
        skip = self._tasks[0].frame_skip
        start = time.process_time()
        for step in actions:
            for (model, data, control), action in zip(parts, step):
                control[:] = action
                mujoco.mj_step(model, data, nstep=skip)
        return time.process_time() - start


def timed(envs: Any) -> Seconds:
    """CPU seconds of vectorised environments."""

    def seconds(actions: np.ndarray) -> float:
        start = time.process_time()
        for action in actions:
            envs.step(action)
        return time.process_time() - start

    return seconds


class EnvPool:
    """EnvPool, in a process of the Python that has it."""

    def __init__(self, python: str, name: str, count: int) -> None:
        self._case = f"{name} {count}"
        self._process = subprocess.Popen(
            [python, "-c", ENVPOOL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask("make")

    def __call__(self, actions: np.ndarray) -> float:
        """CPU seconds of as many steps, with random actions of its own."""
        return self._ask(str(len(actions)))

    def _ask(self, what: str) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{self._case} {what}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def measure(rows: Rows, options: Namespace) -> None:
    """Adds each environment, number of environments and way."""
    quiet_mujoco()
    for name in options.envs:
        for count in map(int, options.counts):
            _measure(rows, options, name, count)
        if options.threads > 1:
            _measure_threads(rows, options, name)


def _measure(rows: Rows, options: Namespace, name: str, count: int) -> None:
    made = [lambda: gym.make(name)] * count
    # with the next episode in the same step, every call steps all environments
    reference = SyncVectorEnv(made, autoreset_mode="SameStep")
    vector = sp.make_gymnasium_vec(name, count, autoreset="SameStep")
    vec = sp.make_vec(name, count)
    vec.seed(0)
    for envs in (reference, vector):
        envs.reset(seed=0)
    vec.reset()
    ways: dict[str, Seconds] = {
        "mj_step": RawSteps(name, [env.unwrapped for env in reference.envs]),
        "make_gymnasium_vec": timed(vector),
        "make_vec": timed(vec),
        "gymnasium": timed(reference),
    }
    pool = EnvPool(options.envpool, name, count) if options.envpool else None
    if pool is not None:
        ways["envpool"] = pool
    space = reference.single_action_space
    random = np.random.default_rng(0)
    steps = max(1, STEPS // count)

    def actions(number: int) -> np.ndarray:
        shape = (number, count, *space.shape)
        return random.uniform(space.low, space.high, shape).astype(space.dtype)

    warm = actions(WARM)
    for way in ways.values():
        way(warm)
    taken_by: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        round_actions = actions(steps)
        # `gymnasium` comes last, since `mj_step` begins at its states
        for way, seconds in ways.items():
            taken_by[way].append(seconds(round_actions) / (steps * count))
    raw = np.array(taken_by["mj_step"])
    for way, taken in taken_by.items():
        measures = {
            "microseconds": round(1e6 * float(np.median(taken)), 1),
            "share_of_mj_step": round(float(np.median(raw / taken)), 3),
        }
        rows.add(
            measures, environment=name, policy=way, setting=f"{count} environments"
        )
    for envs in (reference, vector, vec):
        envs.close()
    if pool is not None:
        pool.close()


def _measure_threads(rows: Rows, options: Namespace, name: str) -> None:
    count = max(map(int, options.counts))
    ways = [
        sp.make_gymnasium_vec(name, count, threads=threads, autoreset="SameStep")
        for threads in (1, options.threads)
    ]
    for envs in ways:
        envs.reset(seed=0)
    space = ways[0].single_action_space
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(options.rounds):
        taken = []
        shape = (max(1, STEPS // count), count, *space.shape)
        actions = random.uniform(space.low, space.high, shape).astype(space.dtype)
        for envs in ways:
            start = time.perf_counter()
            for action in actions:
                envs.step(action)
            taken.append(time.perf_counter() - start)
        ratios.append(taken[0] / taken[1])
    rows.add(
        {"times_one_thread": round(float(np.median(ratios)), 2)},
        environment=name,
        policy="make_gymnasium_vec",
        setting=f"{count} environments, {options.threads} threads",
    )
    for envs in ways:
        envs.close()


if __name__ == "__main__":
    tasks = ["HalfCheetah", "Ant", "Hopper", "Walker2d", "Swimmer", "Humanoid"]
    run(
        measure,
        __doc__,
        envs=[f"{task}-v5" for task in tasks],
        counts=[8, 64],
        rounds=15,
        threads=1,
        envpool="",
    )
