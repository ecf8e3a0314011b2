"""PlasticSAC beside SAC_RNN of skrl and SAC with an LSTM in TorchRL, on a pendulum or
a HalfCheetah whose velocities are hidden: return, and environment steps a second.

python -m benchmarks.recurrent_sac [--task pendulum|cheetah] [--learners NAME...]
    [--seeds 0 1 2] [--steps 15000] [--environments FOLDER] [--csv FILE]

Libraries are installed as by `benchmarks.frameworks`. Scripts in `benchmarks/drivers/`
train with the library's own trainer, with the settings of `drivers/memory_task.py`, in
one thread. Learners take turns, seed by seed. A training that the file has, of as many
steps, is not run again, so the same command continues where it was stopped. Rows: the
`return`, of 50 episodes with the means of actions; the `seconds` of a core that
training took; and `steps_per_second`.
"""

import itertools
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.drivers.memory_task import MARK, TASKS
from benchmarks.environments import last_line, one_thread, python_with
from benchmarks.frameworks import DRIVERS, OURS, Learner
from benchmarks.from_recurrent_ppo import is_on_file
from benchmarks.rows import Rows, run
from spikepropamine.common import UsageError, check_known


def _ours(policy: str) -> Learner:
    return Learner(policy, OURS, "", ("memory_ours.py", policy))


LEARNERS = {
    learner.policy: learner
    for learner in (
        _ours("lstm"),
        _ours("lstm-linear"),
        _ours("ndp-hebb"),
        _ours("snn"),
        Learner("skrl-lstm", "skrl", "skrl", ("memory_skrl.py",)),
        Learner("torchrl-lstm", "TorchRL", "torchrl", ("memory_torchrl.py",)),
    )
}


def measure(rows: Rows, options: Namespace) -> None:
    """Adds every training that is not on file, of libraries that can be installed."""
    check_known("task", options.task, TASKS)
    for name in options.learners:
        check_known("learner", name, LEARNERS)
    environment = TASKS[options.task].hidden
    for seed, name in itertools.product(options.seeds, options.learners):
        if is_on_file(options.csv, environment, name, seed, options.steps):
            print(f"{name} seed {seed}: on file")
            continue
        try:
            result = _trained(LEARNERS[name], seed, options)
        except UsageError as error:
            print(f"left out: {error}", flush=True)
            continue
        rows.add(
            {
                "return": result["return"],
                "seconds": round(result["seconds"], 1),
                "steps_per_second": round(options.steps / result["seconds"], 1),
            },
            environment=environment,
            policy=name,
            seed=seed,
            steps=options.steps,
            condition=f"{LEARNERS[name].library} {result['version']}",
        )
        rows.write(options.csv)


def _trained(learner: Learner, seed: int, options: Namespace) -> dict[str, Any]:
    """What a driver reports of its training.

    Raises:
        UsageError: the library cannot be installed, or the training ended early.
    """
    python: Path | str = sys.executable
    if learner.peer:
        python = python_with(learner.peer, Path(options.environments))
    driver, *given = learner.command
    given += [options.task, str(seed), str(options.steps)]
    done = subprocess.run(
        [str(python), str(DRIVERS / driver), *given],
        capture_output=True,
        text=True,
        env=one_thread(own=not learner.peer),
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    reason = last_line(done.stderr)
    raise UsageError(f"{learner.policy}: its training ended: {reason}")


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        task="pendulum",
        learners=list(LEARNERS),
        seeds=[0, 1, 2],
        steps=15_000,
        environments="build/peers",
    )
