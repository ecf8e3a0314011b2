"""Microseconds of one action, beside ONNX Runtime with the same policy exported:

python -m benchmarks.acting [--policies NAME...] [--turns 15] [--csv FILE]

`act` of a loaded policy and a call of the exported file take turns in one process of
one thread, in CPU time, on the same observations of an episode. Values are medians over
turns, of the ratio too.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import spikepropamine as sp
from benchmarks.rows import Rows, run
from spikepropamine.common import UNSEEN_SEED
from spikepropamine.export.onnx_file import OnnxPolicy, to_onnx

STEPS = 100  # of an episode, timed at once


def observations_of(policy: Any) -> list[Any]:
    """What a policy observes in the first steps of an episode."""
    env = policy.make_env()
    observation, _ = env.reset(seed=UNSEEN_SEED)
    seen = []
    for _ in range(STEPS):
        seen.append(observation)
        observation, *_ = env.step(policy.act(observation))
    env.close()
    return seen


def microseconds(act: Callable[[Any], object], seen: Sequence[Any]) -> float:
    """CPU time of one action."""
    start = time.process_time()
    for observation in seen:
        act(observation)
    return 1e6 * (time.process_time() - start) / len(seen)


def measure(rows: Rows, options: Any) -> None:
    """Adds each policy."""
    for name in options.policies:
        policy = sp.load(name)
        exported = OnnxPolicy(to_onnx(policy, {}))
        seen = observations_of(policy)
        for act in (policy.act, exported.act):
            microseconds(act, seen)  # warms up
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(options.turns):
            ours.append(microseconds(policy.act, seen))
            theirs.append(microseconds(exported.act, seen))
        settings = policy.metadata["settings"]
        found = {
            "act_microseconds": statistics.median(ours),
            "onnx_microseconds": statistics.median(theirs),
            "act_relative_to_onnx": float(np.median(np.divide(ours, theirs))),
        }
        rounded = {measure: round(value, 2) for measure, value in found.items()}
        case = {"environment": settings["env"], "policy": settings["policy"]}
        rows.add(rounded, setting="one action", **case)


POLICIES = [
    "robots/HalfCheetah-v5/mlp",
    "robots/HalfCheetah-v5/snn",
    "robots/HalfCheetah-v5/ndp-oja",
    "robots-lstm/HalfCheetah-v5/lstm",
]

if __name__ == "__main__":
    run(measure, __doc__, policies=POLICIES, turns=15)
