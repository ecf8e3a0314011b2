"""CPU time of a perturbed robot's step, in turn with that of the plain robot.

python -m benchmarks.perturbed [--envs ENV...] [--count N] [--csv FILE]

One text for each family that a robot can have, at half of its severity. A perturbed
robot moves otherwise, which itself takes MuJoCo more or less time; so each way is
measured beside `mj_step` alone, in a loop over as many simulations in the same states
and with the same models. `share_of_mj_step` is the time of `mj_step` relative to that
of a way, and `times_plain` the share of the plain robot relative to that of the
perturbed one: what the perturbation itself costs. Medians of ratios within a round; one
thread.
"""

from argparse import Namespace

import gymnasium as gym
import numpy as np

from benchmarks.physics import STEPS, WARM, RawSteps, Seconds, timed
from benchmarks.rows import Rows, run
from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.perturbations import CATALOGUE, Perturbed, reason_against
from spikepropamine.training.simulated import Stock

SEVERITY = "~0.5"
ROUND = 4 * STEPS
"""Steps of environments in a round, for each way."""


class Way:
    """The robots under one text, and MuJoCo alone in their states.

    Args:
        name: of the environment.
        count: of robots.
        text: of the perturbation; empty: none.
    """

    def __init__(self, name: str, count: int, text: str) -> None:
        made = [
            Perturbed(gym.make(name), text) if text else gym.make(name)
            for _ in range(count)
        ]
        self.envs = Stock([lambda env=env: env for env in made], seed=0)
        self.envs.reset()
        self._step: Seconds = timed(self.envs)
        self._sources = [env.unwrapped for env in made]
        self._raw = RawSteps(name, self._sources)
        self.taken: list[tuple[float, float]] = []  # by itself, and MuJoCo alone

    def measure(self, actions: np.ndarray) -> None:
        """Takes steps by random actions, then MuJoCo alone from where they led."""
        own = self._step(actions)
        self.envs.get_attr("spec")  # which brings the environments' data up to date
        self.taken.append((own, self._raw(actions)))


def measure(rows: Rows, options: Namespace) -> None:
    """Adds each environment and text."""
    quiet_mujoco()
    for name in options.envs:
        _measure(rows, options, name)


def _measure(rows: Rows, options: Namespace, name: str) -> None:
    env = gym.make(name)
    texts = [f"{family}{SEVERITY}" for family in CATALOGUE]
    ways = {
        text: Way(name, options.count, text)
        for text in ["", *texts]
        if not text or not reason_against(env, text)
    }
    space = env.action_space
    random = np.random.default_rng(0)
    steps = max(1, ROUND // options.count)
    for number in [WARM, *[steps] * options.rounds]:
        shape = (number, options.count, *space.shape)
        actions = random.uniform(space.low, space.high, shape).astype(space.dtype)
        for way in ways.values():
            way.measure(actions)
    shares = {}
    for text, way in ways.items():
        _, *taken = way.taken  # the first was to warm up
        own, raw = np.array(taken).T
        shares[text] = raw / own
        rows.add(
            {
                "microseconds": 1e6 * float(np.median(own)) / (steps * options.count),
                "share_of_mj_step": float(np.median(shares[text])),
                "times_plain": float(np.median(shares[""] / shares[text])),
            },
            environment=name,
            policy="make_vec",
            setting=f"{options.count} environments",
            condition=text or "plain",
        )
        way.envs.close()


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        envs=["HalfCheetah-v5", "Ant-v5"],
        count=64,
        rounds=9,
    )
