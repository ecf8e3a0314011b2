"""What trained policies cost: operations, energy, memory, and exported as ONNX the time
of a step.

    python -m benchmarks.costs RUN|NAME... [--csv FILE]

Operations are those of a step of one clean episode, by the definitions of
`evaluation.judge.cost`. Times of a step are medians over 500, of one environment in one
thread.
"""

import timeit
from argparse import Namespace
from collections.abc import Callable

import numpy as np

from benchmarks.rows import Rows, run
from spikepropamine.common import UNSEEN_SEED
from spikepropamine.evaluation.ask.conditions import CLEAN, Task, make_env
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.evaluation.observed import cost_of_run
from spikepropamine.export import onnx_file
from spikepropamine.folder import find

STEPS = 500


def exported(run: Run, task: Task) -> dict[str, float]:
    """Size of the ONNX file, how far its actions are from the policy's, and times of a
    step.

    Args:
        run: whose policy is exported.
        task: of the run.
    """
    env = make_env(task, CLEAN, run.previous, run.revealed)
    contents = onnx_file.to_onnx(run.policy, {})
    compared = onnx_file.check(contents, run.policy, env, UNSEEN_SEED)
    observation, _ = env.reset(seed=UNSEEN_SEED)
    env.close()
    policy = onnx_file.OnnxPolicy(contents)
    state = None

    def torch_step() -> None:
        nonlocal state
        start = np.array([state is None])
        _, state = run.policy.predict(
            observation[None], state, start, deterministic=True
        )

    return {
        "onnx_kilobytes": round(len(contents) / 1000),
        "onnx_microseconds": _median(lambda: policy.act(observation)),
        "torch_microseconds": _median(torch_step),
        "onnx_difference": compared.difference,
        "onnx_steps_apart": compared.apart,
    }


def _median(call: Callable[[], object]) -> int:
    """Microseconds."""
    return round(1e6 * float(np.median(timeit.repeat(call, number=1, repeat=STEPS))))


def measure(rows: Rows, options: Namespace) -> None:
    """Adds runs, by folder or name."""
    for name in options.runs:
        (run,), task = load_runs([find(name)])
        case = {"environment": run.environment, "policy": run.name, "seed": run.seed}
        cost = cost_of_run(run, task, UNSEEN_SEED)
        digits = {"activation_sparsity": 4}
        rows.add(
            {name: round(x, digits.get(name, 1)) for name, x in cost.items()}, **case
        )
        rows.add(exported(run, task), setting="exported", **case)


if __name__ == "__main__":
    run(measure, __doc__, runs=True)
