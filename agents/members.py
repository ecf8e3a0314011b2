"""Members of a population, each a vector of parameters, evaluated in whole episodes: in this
process, in several, or on a Ray cluster. What comes of it is the same.
"""

import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import cloudpickle
import numpy as np
import torch

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents.buffer import each
from spikepropamine.common import UsageError, become_worker, require
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.fast import Several, can_differ
from spikepropamine.policies.spaces import stacked
from spikepropamine.versions import import_modules, imported

DEATHS = 10
"""Workers in a row that may die without a result of any before the training gives up."""
TOGETHER = 16
"""Members that are evaluated at a time."""


@dataclass(frozen=True)
class Episodes:
    """What all members of a generation have in common."""

    seeds: tuple[int, ...]  # that the environments are reset with, one episode each
    draws: int  # seeds PyTorch's generator, from which a policy may draw weights for each episode
    normalisation: (
        Normalisation | None
    )  # of observations; None: they are seen as they are


@dataclass
class Result:
    """What came of a member."""

    returns: np.ndarray  # of its episodes
    lengths: np.ndarray
    # mean, variance and count of raw observations, by key; "" where they are no dict
    moments: dict[str, tuple[Any, Any, int]]
    # of trials, and of the ends of episodes as `Monitor` has them
    infos: list[dict[str, Any]] = field(default_factory=list)
    # where it was asked for: observations as the policy saw them, actions, and starts, each
    # [T, episodes, ...], until the first episode ends; and the seed of the first one's drawn
    # weights, 0 where none are drawn
    record: tuple[Any, np.ndarray, np.ndarray, int] | None = None


class Worker:
    """Evaluates members in this process: each has an episode in each of its environments, side by
    side. A member's vector has the parameters with these names, in their order, which the policy
    gets. `makers` make environments, where several members may be evaluated at a time.
    """

    def __init__(
        self,
        policy: Any,
        names: Sequence[str],
        envs: Sequence[Any],
        makers: Sequence[Any] = (),
    ) -> None:
        self.policy, self.names, self.envs, self.makers = (
            policy,
            names,
            list(envs),
            makers,
        )
        self.parameters = [policy.get_parameter(name) for name in names]
        self.count, self.together = len(envs), can_differ(policy, names)
        network = getattr(policy, "network", None)
        self.draws = network is not None and network.config.fresh_weights == "random"

    def __call__(
        self, episodes: Episodes, members: Sequence[np.ndarray], record: bool
    ) -> list[Result]:
        """Runs the episodes of members with deterministic actions; `record`: shows what happened to
        the first one.
        """
        if not self.together:
            return [
                self._run(episodes, [x], record and not n)[0]
                for n, x in enumerate(members)
            ]
        while len(self.envs) < len(members) * self.count:
            self.envs.append(self.makers[len(self.envs) % self.count]())
        return self._run(episodes, members, record)

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """Of each member, in their order; the first one is recorded."""
        for job in _jobs(members, bool(self.makers)):
            yield from self(episodes, *job)

    def close(self) -> None:
        """Ends what it has started: nothing, in this process."""

    def _actors(self, members: Sequence[np.ndarray]) -> "Several | _One":
        vectors = torch.from_numpy(np.stack(members))
        if self.together:
            seeds = (
                torch.randint(1, 2**24, (self.count,)).tolist() if self.draws else []
            )
            return Several(self.policy, self.names, vectors, self.count, seeds)
        put(vectors[0], self.parameters)
        return _One(self.policy)

    def _run(
        self, episodes: Episodes, members: Sequence[np.ndarray], record: bool
    ) -> list[Result]:
        count, scale = self.count, episodes.normalisation
        envs = self.envs[: len(members) * count]
        seeds = episodes.seeds * len(members)
        observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds)]
        running, recorded = (
            list(range(len(envs))),
            list(range(count)) if record else [-1],
        )
        returns, lengths = np.zeros(len(envs)), np.zeros(len(envs), dtype=int)
        seen, infos, steps = [], list[dict[str, Any]](), []
        starts = np.ones(len(envs), dtype=bool)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(episodes.draws)
            actors = self._actors(members)
            while running:
                batch = stacked(observations)
                if scale is not None:
                    seen.append(batch)
                    batch = scale(batch)
                actions = actors.act(batch, starts, running)
                if running[:count] == recorded:
                    steps.append(
                        (
                            each(lambda x: x[:count], batch),
                            actions[:count],
                            starts[:count],
                        )
                    )
                starts = np.zeros(len(envs), dtype=bool)
                for row in tuple(running):
                    answer = envs[row].step(actions[row])
                    observations[row], reward, terminated, truncated, info = answer
                    returns[row] += float(reward)
                    lengths[row] += 1
                    if row in recorded and "correct" in info and "trial" in info:
                        infos.append(
                            {name: info[name] for name in ("trial", "correct")}
                        )
                    if terminated or truncated:
                        running.remove(row)
                        if row in recorded:
                            end = {
                                "r": float(returns[row]),
                                "l": int(lengths[row]),
                                "t": 0.0,
                            }
                            infos.append({"episode": end})
        whole, results = stacked(seen) if seen else None, []
        for first in range(0, len(envs), count):
            part = slice(first, first + count)
            results.append(
                Result(returns[part], lengths[part], _moments(whole, part, lengths))
            )
        if record:
            results[0].infos = infos
            drawn = int(actors.state[1][0, 0, 0]) if self.draws else 0
            results[0].record = (*(stacked(part) for part in zip(*steps)), drawn)
        return results


class _One:
    """A policy by itself."""

    def __init__(self, policy: Any) -> None:
        self.policy = DeployedPolicy(policy, None, {})
        self.state: Any = None

    def act(
        self, observations: Any, starts: np.ndarray, rows: Sequence[int]
    ) -> np.ndarray:
        """The next deterministic actions."""
        actions, self.state = self.policy.predict(
            observations, self.state, starts, True
        )
        return actions


def put(vector: torch.Tensor, parameters: Sequence[torch.Tensor]) -> None:
    """Sets parameters to the numbers of a vector, in their order."""
    for x, part in zip(parameters, vector.split([x.numel() for x in parameters])):
        x.data.copy_(part.view_as(x))


def _moments(
    seen: Any, part: slice, lengths: np.ndarray
) -> dict[str, tuple[Any, Any, int]]:
    """Of observations [T, episodes, ...] those of some episodes, which have these lengths."""
    found = {}
    for key, x in (
        {} if seen is None else seen if isinstance(seen, dict) else {"": seen}
    ).items():
        own = x[:, part][np.arange(len(x))[:, None] < lengths[part]].astype(np.float64)
        found[key] = own.mean(axis=0), own.var(axis=0), len(own)
    return found


def pack(policy: Any, names: Sequence[str], makers: Sequence[Any]) -> bytes:
    """What another process makes a `Worker` of; `makers` make its environments."""
    return pickle.dumps(
        (tuple(imported), cloudpickle.dumps((policy, tuple(names), makers)))
    )


@lru_cache(1)
def _unpacked(packed: bytes) -> Worker:
    modules, rest = pickle.loads(packed)
    import_modules(modules)  # a process of its own knows nothing of the user's
    torch.set_num_threads(1)
    policy, names, makers = pickle.loads(rest)
    return Worker(policy, names, [make() for make in makers], makers)


_packed = b""  # of this process, where it is one of several


def _start(packed: bytes) -> None:
    global _packed
    _packed = packed
    become_worker()


def _evaluated(packed: bytes | None, *job: Any) -> list[Result]:
    return _unpacked(packed or _packed)(*job)


def _jobs(
    members: Sequence[np.ndarray], together: bool = True
) -> list[tuple[Any, bool]]:
    """Members that are evaluated at a time, and whether the first of them is recorded."""
    size = TOGETHER if together else 1
    return [(members[n : n + size], n == 0) for n in range(0, len(members), size)]


class Processes:
    """Evaluates members in processes of its own, which end with this one. Where one dies, its
    members are evaluated again.
    """

    def __init__(self, packed: bytes, workers: int) -> None:
        self.packed, self.workers = packed, workers
        self.pool: ProcessPoolExecutor | None = None

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """As of a `Worker`. Raises UsageError where processes die again and again."""
        jobs, done, deaths = _jobs(members), 0, 0
        while done < len(jobs):
            if self.pool is None:
                # not forked: PyTorch's and MuJoCo's threads do not survive a fork
                context = multiprocessing.get_context("spawn")
                self.pool = ProcessPoolExecutor(
                    self.workers, context, _start, (self.packed,)
                )
            submit = partial(self.pool.submit, _evaluated, None, episodes)
            try:
                for future in [submit(*job) for job in jobs[done:]]:
                    found = future.result()
                    done, deaths = done + 1, 0
                    yield from found
            except BrokenProcessPool as error:
                self.close()
                deaths += 1
                if deaths > DEATHS:
                    raise UsageError(
                        "workers were killed again and again, as where memory runs out; go on with "
                        "--resume and fewer --trainer.workers"
                    ) from error

    def close(self) -> None:
        """Ends the processes."""
        if self.pool is None:
            return
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        self.pool = None


class OnRay:
    """Evaluates members as tasks of a Ray cluster, the one that is there (RAY_ADDRESS) or one on
    this machine. Ray itself evaluates members again whose worker or machine is lost.
    """

    def __init__(self, packed: bytes) -> None:
        require("ray", "evolution", "--trainer.cluster ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self.ray, self.begun = ray, not ray.is_initialized()
        if self.begun:
            ray.init(log_to_driver=False)
        self.packed = ray.put(packed)
        self.task = ray.remote(max_retries=-1)(_evaluated)

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """As of a `Worker`."""
        shared = self.ray.put(episodes)
        waiting = [
            self.task.remote(self.packed, shared, *job) for job in _jobs(members)
        ]
        yield from chain.from_iterable(map(self.ray.get, waiting))

    def close(self) -> None:
        """Leaves the cluster."""
        if self.begun:
            self.ray.shutdown()
