"""Episodes a second of evolution with one and two workers: `python -m benchmarks.evolution`.

Rules of `ndp-delta` over drawn weights, on CueAssociation-v0 as configured. Both in turn in one
process; the best round. By CPU time two workers take as long as the main process and the slower of
them, as if each had a core of its own; wall time says something on a machine that has nothing else
to do.
"""

import time
from contextlib import ExitStack, closing
from typing import Any

import psutil

from benchmarks.rows import Rows, run
from spikepropamine.agents.zoo import build
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import parse

ARGUMENTS = (
    "--env CueAssociation-v0 --policy ndp-delta --network.hidden 32 --trainer.kind evolution "
    "--trainer.untrained weights --network.fresh-weights random --trainer.workers"
)


def made(workers: int) -> Any:
    """An algorithm that is ready to evolve."""
    settings = parse([*ARGUMENTS.split(), str(workers)])
    return build(settings.policy, make_envs(settings), settings.network, settings.trainer, 0)


def cpu_times(workers: list[psutil.Process]) -> tuple[float, list[float]]:
    """Of this process and of its workers."""
    return time.process_time(), [sum(worker.cpu_times()[:2]) for worker in workers]


def generation(model: Any, evaluator: Any) -> tuple[float, float]:
    """Episodes a second of a generation, by CPU time and by wall time."""
    workers = psutil.Process().children() if model.workers > 1 else []
    _, callback = model._setup_learn(1, None, True, "", False)
    began, (main, others) = time.perf_counter(), cpu_times(workers)
    model._generation(evaluator.results, callback)
    after, others_after = cpu_times(workers)
    slowest = max((b - a for a, b in zip(others, others_after)), default=0.0)
    episodes = (model.population + 1) * model.n_envs
    return episodes / (after - main + slowest), episodes / (time.perf_counter() - began)


def measure(rows: Rows, options: Any) -> None:
    """Adds both numbers of workers."""
    with ExitStack() as stack:
        models = [made(workers) for workers in (1, 2)]
        evaluators = [stack.enter_context(closing(model._evaluator())) for model in models]
        pairs = list(zip(models, evaluators))
        rounds = [[generation(*pair) for pair in pairs] for _ in range(options.rounds + 1)][1:]
    for workers, found in zip((1, 2), zip(*rounds)):
        by_cpu, by_wall = map(max, zip(*found))
        measures = {"episodes_per_cpu_second": by_cpu, "episodes_per_second": by_wall}
        rows.add(measures, environment="CueAssociation-v0", policy="ndp-delta", at=workers)


if __name__ == "__main__":
    run(measure, __doc__, rounds=5)
