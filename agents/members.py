"""Members of a population, each a vector of parameters, evaluated in whole episodes: in this
process, in several, or on a Ray cluster. What comes of it is the same.
"""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import cloudpickle
import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents.buffer import each
from spikepropamine.common import UsageError, end_with_parent_process, require
from spikepropamine.own_modules import import_modules, imported
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.spaces import stacked

DEATHS = 10
"""Workers in a row that may die without a result of any before the training gives up."""


@dataclass(frozen=True)
class Episodes:
    """What all members of a generation have in common.

    Attributes:
        seeds: the environments are reset with, one episode each.
        draws: seeds PyTorch's generator, from which a policy may draw weights for each episode.
        normalisation: of observations; None: they are seen as they are.
    """

    seeds: tuple[int, ...]
    draws: int
    normalisation: Normalisation | None


@dataclass
class Result:
    """What came of a member.

    Attributes:
        returns, lengths: of its episodes.
        moments: mean, variance and count of raw observations, by key; "" where they are no dict.
        infos: of trials, and of the ends of episodes as `Monitor` has them.
        record: observations as the policy saw them, actions, and starts, each [T, episodes, ...],
            until the first episode ends, and the state after their first step; where it was asked
            for.
    """

    returns: np.ndarray
    lengths: np.ndarray
    moments: dict[str, tuple[Any, Any, int]]
    infos: list[dict[str, Any]] = field(default_factory=list)
    record: tuple[Any, np.ndarray, np.ndarray, Any] | None = None


class Worker:
    """Evaluates members one after the other: sets the named parameters of a policy, and has an
    episode in each environment, side by side.
    """

    def __init__(self, policy: Any, names: Sequence[str], envs: Sequence[Any]) -> None:
        self.policy, self.envs = policy, envs
        named = dict(policy.named_parameters())
        self.parameters = [named[name] for name in names]

    def __call__(self, episodes: Episodes, member: np.ndarray, record: bool) -> Result:
        """Runs the episodes with these parameters and deterministic actions; `record`: shows what
        happened.
        """
        put(torch.from_numpy(member), self.parameters)
        policy, scale = DeployedPolicy(self.policy, None, {}), episodes.normalisation
        observations = [env.reset(seed=s)[0] for env, s in zip(self.envs, episodes.seeds)]
        count, running = len(self.envs), list(range(len(self.envs)))
        returns, lengths = np.zeros(count), np.zeros(count, dtype=int)
        state: Any = None
        seen, infos, steps, first_state = [], [], [], None
        starts = np.ones(count, dtype=bool)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(episodes.draws)
            while running:
                batch = stacked(observations)
                if scale is not None:
                    seen.append(each(lambda x: x[running], batch))
                    batch = scale(batch)
                actions, state = policy.predict(batch, state, starts, deterministic=True)
                first_state = state if first_state is None else first_state
                if record and len(running) == count:
                    steps.append((batch, actions, starts))
                starts = np.zeros(count, dtype=bool)
                for row in tuple(running):
                    answer = self.envs[row].step(actions[row])
                    observations[row], reward, terminated, truncated, info = answer
                    returns[row] += float(reward)
                    lengths[row] += 1
                    if record and "correct" in info and "trial" in info:
                        infos.append({name: info[name] for name in ("trial", "correct")})
                    if terminated or truncated:
                        running.remove(row)
                        end = {"r": float(returns[row]), "l": int(lengths[row]), "t": 0.0}
                        infos.append({"episode": end})
        kept = (*(stacked(part) for part in zip(*steps)), first_state) if record else None
        return Result(returns, lengths, _moments(seen, scale), infos, kept)


def put(vector: torch.Tensor, parameters: Sequence[torch.Tensor]) -> None:
    """Sets parameters to the numbers of a vector, in their order."""
    for x, part in zip(parameters, vector.split([x.numel() for x in parameters])):
        x.data.copy_(part.view_as(x))


def _moments(seen: list[Any], scale: Normalisation | None) -> dict[str, tuple[Any, Any, int]]:
    if scale is None:
        return {}
    named = seen if isinstance(scale.mean, dict) else [{"": x} for x in seen]
    keys = scale.mean if isinstance(scale.mean, dict) else [""]
    parts = {key: np.concatenate([x[key] for x in named]).astype(np.float64) for key in keys}
    return {key: (x.mean(axis=0), x.var(axis=0), len(x)) for key, x in parts.items()}


def merge(statistics: RunningMeanStd | dict[str, RunningMeanStd], result: Result) -> None:
    """Lets running statistics take in the observations of a member."""
    for key, (mean, var, count) in result.moments.items():
        part = statistics[key] if isinstance(statistics, dict) else statistics
        part.update_from_moments(mean, var, count)


def pack(policy: Any, names: Sequence[str], makers: Sequence[Any]) -> bytes:
    """What another process makes a `Worker` of; `makers` make its environments."""
    return pickle.dumps((tuple(imported), cloudpickle.dumps((policy, tuple(names), makers))))


@lru_cache(1)
def _unpacked(packed: bytes) -> Worker:
    modules, rest = pickle.loads(packed)
    import_modules(modules)  # a process of its own knows nothing of the user's
    torch.set_num_threads(1)
    policy, names, makers = pickle.loads(rest)
    return Worker(policy, names, [make() for make in makers])


_packed = b""  # of this process, where it is one of several


def _start(packed: bytes) -> None:
    global _packed
    _packed = packed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears of it, and stops this one
    end_with_parent_process()


def _evaluated(episodes: Episodes, member: np.ndarray, record: bool) -> Result:
    return _unpacked(_packed)(episodes, member, record)


def _evaluated_there(packed: bytes, episodes: Episodes, member: np.ndarray, record: bool) -> Result:
    return _unpacked(packed)(episodes, member, record)


class Alone:
    """Evaluates members in this process."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def results(self, episodes: Episodes, members: Sequence[np.ndarray]) -> Iterator[Result]:
        """Of each member, in their order; the first one is recorded."""
        for index, member in enumerate(members):
            yield self.worker(episodes, member, index == 0)

    def close(self) -> None:
        """Ends what it has started."""


class Processes:
    """Evaluates members in processes of its own, which end with this one. Where one dies, its
    members are evaluated again.
    """

    def __init__(self, packed: bytes, workers: int) -> None:
        self.packed, self.workers = packed, workers
        self.pool: ProcessPoolExecutor | None = None

    def results(self, episodes: Episodes, members: Sequence[np.ndarray]) -> Iterator[Result]:
        """Of each member, in their order; the first one is recorded.

        Raises:
            UsageError: workers die again and again.
        """
        found: dict[int, Result] = {}
        futures: dict[int, Future[Result]] = {}
        deaths = 0
        for index in range(len(members)):
            while index not in found:
                try:
                    if not futures:
                        left = [i for i in range(index, len(members)) if i not in found]
                        futures = {i: self._submit(episodes, members[i], i == 0) for i in left}
                    found[index] = futures.pop(index).result()
                    deaths = 0
                except BrokenProcessPool as error:
                    ended = [i for i, x in futures.items() if x.done() and not x.exception()]
                    found |= {i: futures[i].result() for i in ended}
                    futures = {}
                    self.close()
                    deaths += 1
                    if deaths > DEATHS:
                        raise UsageError(
                            "workers were killed again and again, as where memory runs out; go on "
                            "with --resume and fewer --trainer.workers"
                        ) from error
            yield found.pop(index)

    def _submit(self, *job: Any) -> Future[Result]:
        if self.pool is None:
            # not forked: PyTorch's and MuJoCo's threads do not survive a fork
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(self.workers, context, _start, (self.packed,))
        return self.pool.submit(_evaluated, *job)

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
        self.task = ray.remote(max_retries=-1)(_evaluated_there)

    def results(self, episodes: Episodes, members: Sequence[np.ndarray]) -> Iterator[Result]:
        """Of each member, in their order; the first one is recorded."""
        shared = self.ray.put(episodes)
        call = partial(self.task.remote, self.packed, shared)
        waiting = [call(member, index == 0) for index, member in enumerate(members)]
        yield from map(self.ray.get, waiting)

    def close(self) -> None:
        """Leaves the cluster."""
        if self.begun:
            self.ray.shutdown()
