"""Members of a population, each a vector of parameters, evaluated in whole episodes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.fast import Several, can_differ
from spikepropamine.policies.spaces import check_observations, each, stacked

TOGETHER = 16
"""Members that are evaluated at a time."""


@dataclass(frozen=True)
class Episodes:
    """What all members of a generation have in common."""

    seeds: tuple[int, ...]
    """That the environments are reset with, one episode each."""
    draws: int
    """Seeds PyTorch's generator, from which a policy may draw weights for each
    episode."""
    normalisation: Normalisation | None
    """Of observations; None: they are seen as they are."""


class Record(NamedTuple):
    """What happened to a member until its first episode ended, each [T, episodes,
    ...].
    """

    observations: Any
    """As the policy saw them, or a dict of such."""
    actions: np.ndarray
    starts: np.ndarray
    """True where an episode starts."""
    drawn: int
    """The seed of the first episode's drawn weights; 0 where none are drawn."""


Moments = dict[str, tuple[Any, Any, int]]
"""Mean, variance and count of raw observations, by key; "" where they are no dict."""


@dataclass
class Result:
    """What came of a member."""

    returns: np.ndarray
    """Of its episodes."""
    lengths: np.ndarray
    """Of its episodes, in steps."""
    moments: Moments
    infos: list[dict[str, Any]] = field(default_factory=list)
    """Of trials, and of the ends of episodes as `Monitor` has them."""
    record: Record | None = None
    """Where it was requested."""


@dataclass(frozen=True)
class Job:
    """Members that are evaluated at a time."""

    members: Sequence[np.ndarray]
    records: bool
    """Whether the first of them is recorded."""


def jobs_of(members: Sequence[np.ndarray], together: bool = True) -> list[Job]:
    """Splits members into jobs; the first member is recorded.

    Args:
        members: vectors of parameters.
        together: whether several may be evaluated at a time.
    """
    size = TOGETHER if together else 1
    return [
        Job(members[first : first + size], first == 0)
        for first in range(0, len(members), size)
    ]


class Rows(Protocol):
    """Environments by the number of their row."""

    def reset(self, row: int, seed: int, options: dict[str, Any] | None) -> Any:
        """Begins an episode in one environment; see `Env.reset`."""

    def step(self, rows: Sequence[int], actions: Any) -> dict[int, Any]:
        """One step of some environments, rising, with actions by row; of each what
        `Env.step` returns.
        """


StepRows = Callable[[Mapping[int, Any]], Rows]


class OneByOne:
    """`Rows` that are stepped one after the other.

    Args:
        envs: by row.
    """

    def __init__(self, envs: Mapping[int, Any]) -> None:
        self._envs = envs

    def reset(self, row: int, seed: int, options: dict[str, Any] | None) -> Any:
        """See `Rows`."""
        return self._envs[row].reset(seed=seed, options=options)

    def step(self, rows: Sequence[int], actions: Any) -> dict[int, Any]:
        """See `Rows`."""
        return {row: self._envs[row].step(actions[row]) for row in rows}


class Worker:
    """Evaluates members in this process: each has an episode in each of its
    environments, side by side.

    Args:
        policy: gets the parameters of each member in turn.
        names: of the parameters that a member's vector has, in its order.
        envs: one for each episode of a member.
        makers: make environments, where several members may be evaluated at a time.
        step_rows: makes what steps environments, given by the number of their row.
    """

    def __init__(
        self,
        policy: Any,
        names: Sequence[str],
        envs: Sequence[Any],
        makers: Sequence[Any] = (),
        step_rows: StepRows = OneByOne,
    ) -> None:
        self.policy = policy
        self.names = names
        self.envs = list(envs)
        self.makers = makers
        self.step_rows = step_rows
        self.parameters = [policy.get_parameter(name) for name in names]
        self.count = len(envs)
        """Episodes of a member."""
        self.together = can_differ(policy, names)
        """Whether several members can be evaluated in one call."""
        network = getattr(policy, "network", None)
        self.draws = network is not None and network.config.fresh_weights == "random"

    def __call__(self, episodes: Episodes, job: Job) -> list[Result]:
        """Runs the episodes of members with deterministic actions.

        Args:
            episodes: that each of them has.
            job: the members.

        Raises:
            ValueError: an observation or a reward is not a finite number.
        """
        if not self.together:
            return [
                self._run(episodes, [member], records=job.records and index == 0)[0]
                for index, member in enumerate(job.members)
            ]
        while len(self.envs) < len(job.members) * self.count:
            make = self.makers[len(self.envs) % self.count]
            self.envs.append(make())
        return self._run(episodes, job.members, job.records)

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """Evaluates members, and yields what came of each, in their order.

        Args:
            episodes: that each of them has.
            members: vectors of parameters; the first one is recorded.
        """
        for job in jobs_of(members, bool(self.makers)):
            yield from self(episodes, job)

    def close(self) -> None:
        """Ends what it has started: nothing, in this process."""

    def _actors(self, members: Sequence[np.ndarray]) -> "Several | _One":
        """What acts for members: all of them in one call, or one policy by itself."""
        vectors = torch.from_numpy(np.stack(members))
        if not self.together:
            put(vectors[0], self.parameters)
            return _One(self.policy)
        seeds = []
        if self.draws:
            seeds = torch.randint(1, 2**24, (self.count,)).tolist()
        return Several(self.policy, self.names, vectors, self.count, seeds)

    def _run(
        self, episodes: Episodes, members: Sequence[np.ndarray], records: bool
    ) -> list[Result]:
        """Runs all episodes of several members side by side; their results, in their
        order.
        """
        count = self.count
        envs = self.envs[: len(members) * count]
        recorder = _Recorder(count) if records else None
        stepped = self.step_rows(dict(enumerate(envs)))
        observations = [
            stepped.reset(row, seed, None)[0]
            for row, seed in enumerate(episodes.seeds * len(members))
        ]
        running = list(range(len(envs)))
        returns = np.zeros(len(envs))
        lengths = np.zeros(len(envs), dtype=int)
        starts = np.ones(len(envs), dtype=bool)
        raw = []  # observations of each step, before normalisation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(episodes.draws)
            actors = self._actors(members)
            while running:
                batch = stacked(observations)
                check_observations(batch)
                if episodes.normalisation is not None:
                    raw.append(batch)
                    batch = episodes.normalisation(batch)
                actions = actors.act(batch, starts, running)
                if recorder is not None:
                    recorder.add_step(running, batch, actions, starts)
                starts = np.zeros(len(envs), dtype=bool)
                answers = stepped.step(running, actions)
                for row, answer in answers.items():
                    observation, reward, terminated, truncated, info = answer
                    observations[row] = observation
                    returns[row] += float(reward)
                    lengths[row] += 1
                    ended = terminated or truncated
                    if ended:
                        running.remove(row)
                    if recorder is not None and row < count:
                        recorder.add_info(info)
                        if ended:
                            recorder.add_end(returns[row], lengths[row])
        if not np.isfinite(returns).all():
            raise ValueError("a reward of the environment is not a finite number")
        whole = stacked(raw) if raw else None
        results = []
        for first in range(0, len(envs), count):
            rows = slice(first, first + count)
            moments = _moments(whole, rows, lengths)
            results.append(Result(returns[rows], lengths[rows], moments))
        if recorder is not None:
            drawn = 0
            if self.draws:
                assert actors.state is not None
                drawn = int(actors.state[1][0, 0, 0])
            results[0].infos = recorder.infos
            results[0].record = recorder.record(drawn)
        return results


class _Recorder:
    """Records the first member, the rows of whose episodes are the first `count`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows = list(range(count))
        self.infos: list[dict[str, Any]] = []
        self.observations: list[Any] = []
        self.actions: list[np.ndarray] = []
        self.starts: list[np.ndarray] = []

    def add_step(
        self,
        running: list[int],
        observations: Any,
        actions: np.ndarray,
        starts: np.ndarray,
    ) -> None:
        """A step of all rows, which is kept as long as none of the member's episodes
        has ended.

        Args:
            running: rows whose episodes have not ended, in rising order.
            observations: of all rows, [rows, ...], or a dict of such.
            actions: of all rows, [rows, ...].
            starts: bool [rows], True where an episode begins.
        """
        count = self.count
        if running[:count] == self.rows:
            self.observations.append(each(lambda x: x[:count], observations))
            self.actions.append(actions[:count])
            self.starts.append(starts[:count])

    def add_info(self, info: dict[str, Any]) -> None:
        """Takes in the info of one of the member's steps, and keeps the response in a
        trial.
        """
        if "correct" in info and "trial" in info:
            self.infos.append({name: info[name] for name in ("trial", "correct")})

    def add_end(self, total: float, length: int) -> None:
        """The return and the length of an episode, in the form of `Monitor`.

        Args:
            total: sum of the episode's rewards.
            length: in steps.
        """
        episode = {"r": float(total), "l": int(length), "t": 0.0}
        self.infos.append({"episode": episode})

    def record(self, drawn: int) -> Record:
        """The record of all steps, with the seed of drawn weights."""
        return Record(
            stacked(self.observations),
            stacked(self.actions),
            stacked(self.starts),
            drawn,
        )


class _One:
    """A policy by itself."""

    def __init__(self, policy: Any) -> None:
        self.policy = DeployedPolicy(policy, None, {})
        self.state: Any = None

    def act(
        self, observations: Any, starts: np.ndarray, rows: Sequence[int]
    ) -> np.ndarray:
        """The next deterministic actions, as of `Several`."""
        actions, self.state = self.policy.predict(
            observations, self.state, starts, True
        )
        return actions


def put(vector: Tensor, parameters: Sequence[Tensor]) -> None:
    """Sets parameters to the numbers of a vector, in their order.

    Args:
        vector: [n].
        parameters: which have n numbers together.
    """
    parts = vector.split([x.numel() for x in parameters])
    for parameter, part in zip(parameters, parts):
        parameter.data.copy_(part.view_as(parameter))


def _moments(observations: Any, rows: slice, lengths: np.ndarray) -> Moments:
    """Mean and variance of the observations in some episodes; none without
    observations.
    """
    if observations is None:
        return {}
    named = observations if isinstance(observations, dict) else {"": observations}
    moments = {}
    for key, x in named.items():
        happened = np.arange(len(x))[:, None] < lengths[rows]
        some = x[:, rows][happened].astype(np.float64)
        moments[key] = some.mean(axis=0), some.var(axis=0), len(some)
    return moments
