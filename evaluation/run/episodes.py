"""Episodes of a policy, one per seed, many of them stepped side by side; or one of them
step by step, from the inside; and the unit of work of an evaluation: one policy, one
condition, one wave of episodes.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.type_aliases import PolicyPredictor

from spikepropamine.common import UsageError
from spikepropamine.envs.physics.rows import Rows
from spikepropamine.evaluation.ask.conditions import Condition, Task, make_env
from spikepropamine.evaluation.ask.lesions import (
    LESIONS,
    Hook,
    Wave,
    fields_of,
    layout_of,
)
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.reference import THRESHOLD, LayerOutput, LayerSpec
from spikepropamine.policies.spaces import BadObservation, stacked
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.policies.state import StateLayout

WIDTH = 50
SAMPLES = 200  # of what goes on inside the network, over the horizon
APART = 1_000_000_000
"""Between the seeds of an episode and of its random actions: of one seed, these would
be what the task itself draws, and so its right answers, for instance.
"""


@dataclass(frozen=True)
class Episode:
    """What came of one episode."""

    seed: int  # that the environment was reset with
    total_reward: float  # the return, undiscounted
    length: int  # in environment steps
    # in a task with trials, whether the response of each was right, None where there
    # was none; else empty
    correct: tuple[bool | None, ...] = ()
    # share of the right commands' variance, see `explained_late`; NaN in other tasks
    explained: float = field(default=math.nan, compare=False)
    # of each step
    rewards: tuple[float, ...] = field(default=(), compare=False, repr=False)
    # steps at which a context began, rising from 0; empty where there are no contexts
    began: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass
class _Unfinished:
    """An episode while it is run."""

    seed: int
    info: Mapping[str, Any]  # that the environment gave last
    total: float = 0.0
    rewards: list[float] = field(default_factory=list)
    correct: dict[int, bool] = field(default_factory=dict)  # by trial
    began: set[int] = field(default_factory=set)
    # of each step, in a task that has a right command
    squared_errors: list[float] = field(default_factory=list)
    squared_targets: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began |= began_of(self.info)

    def add(self, step: int, reward: Any, info: Mapping[str, Any]) -> None:
        """Takes in what a step gave.

        Args:
            step: from 0 on.
            reward: of the step.
            info: of the step; "correct" and "trial" of a cue task count.

        Raises:
            UsageError: the reward or the number of a trial cannot be.
        """
        value = finite_reward(reward, step, self.seed)
        self.info = info
        self.total += value
        self.rewards.append(value)
        self.began |= began_of(info)
        if "correct" in info and "trial" in info:
            trial = int(info["trial"])
            if not 0 <= trial <= step + 1:
                raise UsageError(
                    f"the environment's info has trial {trial} at step {step}; trials "
                    "are to be counted from the start of each episode"
                )
            self.correct[trial] = bool(info["correct"])
        if "squared_error" in info and "squared_target" in info:
            self.squared_errors.append(float(info["squared_error"]))
            self.squared_targets.append(float(info["squared_target"]))

    def finished(self) -> Episode:
        """What came of it."""
        trials = range(max(self.correct, default=-1) + 1)
        return Episode(
            seed=self.seed,
            total_reward=self.total,
            length=len(self.rewards),
            correct=tuple(self.correct.get(trial) for trial in trials),
            explained=explained_late(self.squared_errors, self.squared_targets),
            rewards=tuple(self.rewards),
            began=tuple(sorted(self.began)),
        )


def explained_late(
    squared_errors: Sequence[float], squared_targets: Sequence[float]
) -> float:
    """The share of the variance of right commands that an episode's last quarter
    explains: 1 where each command is right, 0 for commands of zeros.

    Args:
        squared_errors: squared distance of the command from the right one, by step.
        squared_targets: squared length of the right one, of each step.

    Returns:
        The share, at most 1; NaN where no command was wanted in that quarter.
    """
    late = len(squared_targets) - math.ceil(len(squared_targets) / 4)
    wanted = sum(squared_targets[late:])
    if wanted == 0.0:
        return math.nan
    return 1.0 - sum(squared_errors[late:]) / wanted


def run_episodes(
    policy: PolicyPredictor,
    make_env: Callable[[], gym.Env],
    seeds: Sequence[int],
    *,
    width: int = WIDTH,
    deterministic: bool = True,
    initial_state: tuple[np.ndarray, ...] | None = None,
    hooks: Sequence[Hook] = (),
    options: dict[str, Any] | None = None,
    envs: dict[int, gym.Env] | None = None,
) -> list[Episode]:
    """Runs one episode per seed.

    Up to `width` episodes are stepped in lockstep; one that has ended is no longer
    stepped. An episode is a function of its seed and of `width` alone, to the last bit:
    floating-point sums of a batched policy depend on the size of the batch and on the
    row in it, so batches are always `width` rows and an episode always has row
    `seed % width`. Stochastic actions are drawn from PyTorch's generator, which is
    seeded with `seed // width`, and left as it was found.

    With width 50 and seeds from a multiple of 50 on, these are also the episodes of
    SB3's `evaluate_policy` on 50 environments so seeded; with width 1, those of a
    single environment.

    Args:
        policy: acts.
        make_env: makes an environment.
        seeds: distinct, and at least 0.
        width: rows of a batch, at least 1.
        deterministic: whether actions are the likeliest, or sampled.
        initial_state: for `predict` at the first step, arrays [any, width, any]; None:
            the policy chooses.
        hooks: are called at every step, in this order, and need an initial state.
        options: for the `reset` of environments.
        envs: those made before, by row: those that are missing are added, and all are
            left open. None: at most `width` are made, and closed in the end.

    Returns:
        A record of each episode, in the order of the seeds.

    Raises:
        ValueError: seeds that repeat or are negative, or a width below 1.
        UsageError: a reward or an observation that cannot be.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ValueError("seeds must be distinct and at least 0")
    made: dict[int, gym.Env] = {} if envs is None else envs
    records: dict[int, Episode] = {}
    try:
        with torch.random.fork_rng():
            for wave in waves(seeds, width):
                torch.manual_seed(wave[0] // width)
                rows = {seed % width: seed for seed in wave}
                for row in rows.keys() - made.keys():
                    made[row] = make_env()
                ended = _run_wave(
                    policy,
                    made,
                    rows,
                    width,
                    deterministic,
                    initial_state,
                    hooks,
                    options,
                )
                records |= {episode.seed: episode for episode in ended}
    finally:
        if envs is None:
            for env in made.values():
                env.close()
    return [records[seed] for seed in seeds]


def waves(seeds: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """The seeds, cut where `run_episodes` begins another batch.

    Args:
        seeds: of episodes.
        width: rows of a batch.
    """
    blocks = itertools.groupby(sorted(seeds), key=lambda seed: seed // width)
    return [tuple(block) for _, block in blocks]


def finite_reward(reward: Any, step: int, seed: int) -> float:
    """The reward as a float.

    Args:
        reward: that an environment gave.
        step: at which it gave it.
        seed: of the episode.

    Raises:
        UsageError: it is no finite number.
    """
    value = float(reward)
    if not math.isfinite(value):
        raise UsageError(
            f"the environment's reward is {value} at step {step} of the episode with "
            f"seed {seed}; nothing can be evaluated by that"
        )
    return value


def _run_wave(
    policy: PolicyPredictor,
    envs: dict[int, gym.Env],
    rows: dict[int, int],
    width: int,
    deterministic: bool,
    state: tuple[np.ndarray, ...] | None,
    hooks: Sequence[Hook],
    options: dict[str, Any] | None,
) -> list[Episode]:
    """Runs the episodes of `rows`, row to seed."""
    episodes: dict[int, _Unfinished] = {}
    first: dict[int, Any] = {}
    stepped = Rows({row: envs[row] for row in rows})
    for row, seed in rows.items():
        first[row], info = stepped.reset(row, seed, options)
        episodes[row] = _Unfinished(seed, info)
    # rows without an episode need some valid observation, and so do those whose episode
    # is over
    some = next(iter(first.values()))
    observations = [first.get(row, some) for row in range(width)]
    starts = np.ones(width, dtype=bool)
    if state is not None:
        state = tuple(part.copy() for part in state)
    ended: list[Episode] = []
    running = sorted(rows)
    step = 0
    while running:
        infos = {row: episodes[row].info for row in running}
        for hook in hooks:
            hook.before(step, state, starts, infos)
        try:
            batch = stacked(observations)
            actions, state = policy.predict(batch, state, starts, deterministic)
        except BadObservation as error:
            seeds = ", ".join(str(rows[row]) for row in running[:3])
            raise UsageError(
                f"step {step} of the episodes with seeds {seeds} ...: {error}"
            ) from error
        starts = np.zeros(width, dtype=bool)
        over = []
        answers = stepped.step(running, actions)
        for row in running:
            observations[row], reward, terminated, truncated, info = answers[row]
            episodes[row].add(step, reward, info)
            if terminated or truncated:
                over.append(row)
                ended.append(episodes[row].finished())
        for hook in hooks:
            hook.after(step, state, running, over)
        running = [row for row in running if row not in over]
        step += 1
    return ended


def began_of(info: Mapping[str, Any]) -> set[int]:
    """The step at which the context of an info began, if there is one."""
    if "context_began" not in info:
        return set()
    return {int(info["context_began"])}


@dataclass(frozen=True)
class Moment:
    """One environment step of an episode, and in it the layer that `recorded_layer`
    names.
    """

    info: dict[str, Any]  # of the step
    reward: float = 0.0  # of the step
    action: np.ndarray | None = None  # [*action]; None right after a reset
    # float32 [ticks, neurons], 0 or 1; None where there are none
    spikes: np.ndarray | None = None
    # float32 [ticks, neurons], in [-1, 1]; None without one
    modulator: np.ndarray | None = None
    # float32 [neurons, inputs], after the step; None where there are none
    fast_weights: np.ndarray | None = None
    observation: Any = None  # what the policy acts upon next


def can_record(policy: Any) -> bool:
    """Whether the policy is a deployed one whose spikes `watch` records."""
    inner = getattr(policy, "policy", None)
    if not isinstance(inner, PlasticSpikingPolicy):
        return False
    return inner.network.config.units == "spiking"


def recorded_layer(policy: DeployedPolicy) -> tuple[int, LayerSpec]:
    """Index and kind of the layer that is recorded: the last plastic one, or else the
    last one.
    """
    inner: Any = policy.policy
    specs = [layer.spec for layer in inner.network.layers]
    plastic = [index for index, spec in enumerate(specs) if spec.plastic]
    index = max(plastic, default=len(specs) - 1)
    return index, specs[index]


def watch(
    policy: DeployedPolicy,
    env: gym.Env,
    seed: int,
    *,
    hook: Hook | None = None,
    width: int = 1,
) -> Iterator[Moment]:
    """One episode with deterministic actions: the moment after the reset, and every
    step.

    Nothing of it is kept. While the caller has a moment, the environment stands at it;
    it is not closed.

    Args:
        policy: acts.
        env: in which it acts.
        seed: of the episode.
        hook: a lesion; None: there is none.
        width: rows of a batch; with that of `run_episodes` it is the same episode to
            the last bit.

    Yields:
        The moments.
    """
    inner: Any = policy.policy
    row = seed % width
    observed = _Observed(policy, row) if _is_spiking(inner) else None
    state = None if observed is None else inner.initial_state(width)
    observation, info = env.reset(seed=seed)
    yield Moment(info, observation=observation)
    starts = np.ones(width, dtype=bool)
    over = False
    step = 0
    draws = torch.Generator().manual_seed(seed // width).get_state()
    while not over:
        batch = stacked([observation] * width)
        if hook is not None:
            hook.before(step, state, starts, {row: info})
        observing = nullcontext() if observed is None else observed.observing()
        with observing, torch.random.fork_rng():
            torch.set_rng_state(draws)
            actions, state = policy.predict(batch, state, starts, deterministic=True)
            draws = torch.get_rng_state()
        seen = {} if observed is None else observed.seen(state)
        answer = env.step(actions[row])
        observation, reward, terminated, truncated, info = answer
        yield Moment(info, float(reward), actions[row], **seen, observation=observation)
        starts = np.zeros(width, dtype=bool)
        over = terminated or truncated
        step += 1


def _is_spiking(policy: Any) -> bool:
    return isinstance(policy, PlasticSpikingPolicy)


class _Observed:
    """What goes on in the recorded layer of a policy, in one row of a batch."""

    def __init__(self, policy: DeployedPolicy, row: int) -> None:
        self.inner: Any = policy.policy
        self.row = row
        self.layer, self.spec = recorded_layer(policy)
        self.has_spikes = can_record(policy)
        self.kept: dict[str, np.ndarray] = {}

    def observing(self) -> AbstractContextManager[Any]:
        """Within it, what the layer does is kept."""
        self.kept = {}
        context: AbstractContextManager[Any] = self.inner.network.observed(self._look)
        return context

    def _look(self, outputs: list[LayerOutput]) -> None:
        output = outputs[self.layer]
        if self.has_spikes:
            spikes = output.spikes[:, self.row]
            self.kept["spikes"] = spikes.numpy(force=True).copy()
        if output.rate is not None and self.spec.modulation != "none":
            rate = output.rate[:, self.row]
            self.kept["modulator"] = rate.numpy(force=True).copy()

    def seen(self, state: Any) -> dict[str, Any]:
        """By name, what is recorded of a step that ends with this state."""
        if not self.spec.plastic:
            return self.kept
        name = f"layer{self.layer}.fast_weights"
        weights = self.inner.layout.get(state[0], name)[0, self.row]
        return self.kept | {"fast_weights": weights}


Outcome = dict[str, np.ndarray]
FILLED = {"correct": np.nan, "began": -1}  # where an episode has no more; others have 0

BASELINES: dict[str, Callable[[Any], Any]] = {
    "random": lambda space: space.sample(),
    "still": lambda space: np.clip(
        np.zeros(space.shape, space.dtype), space.low, space.high
    ),
}
"""Actions that need no policy. Only a Box of actions knows what it is to stand still.
"""


@dataclass(frozen=True)
class Job:
    """One wave of episodes."""

    folder: Path | None  # of the deployed policy; None: a baseline
    previous: bool  # whether the policy observes its previous action and reward
    task: Task  # that it is evaluated in
    condition: Condition
    # of the episodes, of one wave: `seed // width` is the same for all
    seeds: tuple[int, ...]
    width: int  # of the batch
    deterministic: bool  # the likeliest actions, or sampled ones
    # text of the perturbations that the policy is told; None: none
    revealed: str | None = None
    told: bool = False  # whether the contexts of the condition are undone for it
    baseline: str = ""  # of `BASELINES`, where there is no policy

    @property
    def episodes(self) -> int:
        """How many episodes it runs; some lesions need another one for each."""
        lesion = self.condition.lesion
        if lesion is None:
            return len(self.seeds)
        return len(self.seeds) * LESIONS[lesion].cost

    @property
    def place(self) -> tuple[Any, ...]:
        """Tells apart environments of a task: equal ones are the same, whoever acts in
        them.
        """
        condition = self.condition
        return condition.text, condition.noise, self.previous, self.revealed, self.told


def width_of(task: Task) -> int:
    """Rows of a batch. More are faster, where the environment is not what takes the
    time; but a batch is computed as a whole, however few episodes there are.
    """
    return 20 if task.simulated else 50


# of this process: the simulated environments of the last job, by row, and their place
_environments: dict[str, dict[int, gym.Env]] = {}


def environments_of(job: Job) -> dict[int, gym.Env] | None:
    """The environments of a job by row, kept from the job before where it needs the
    same.

    None where making them takes no time.
    """
    if not job.task.simulated:
        return None
    place = repr((job.task, job.place))
    if place not in _environments:
        close_environments()
    return _environments.setdefault(place, {})


def close_environments() -> None:
    """Let go of those that were kept."""
    for made in _environments.values():
        for env in made.values():
            env.close()
    _environments.clear()


class InsideSums(Hook):
    """Sums over the episodes that were running, by series and sample, so that waves add
    up; their `count` is a series, too.
    """

    def __init__(self, layout: StateLayout, every: int, spiking: bool) -> None:
        self.layout = layout
        self.every = every
        self.spiking = spiking
        self.fast = fields_of(layout, "fast_weights")
        self.modulation = fields_of(layout, "modulation")
        self.potential = fields_of(layout, "potential")
        self.sums: dict[str, list[float]] = {}

    def after(
        self, step: int, state: Any, running: Sequence[int], over: Sequence[int]
    ) -> None:
        """Adds up the rows that were running, at every so many steps; see `Hook`."""
        if step % self.every:
            return
        self._add("count", np.ones(len(running)))
        flat = state[0][0, running]
        if self.spiking:
            fired = self._joined(flat, self.potential) > THRESHOLD
            self._add("firing_rate", fired.mean(axis=1))
        if self.fast:
            squares = np.square(self._joined(flat, self.fast), dtype=np.float64)
            self._add("fast_weight_norm", np.sqrt(squares.mean(axis=1)))
        if self.modulation:
            modulation = self._joined(flat, self.modulation).astype(np.float64)
            self._add("modulator_mean", modulation.mean(axis=1))
            self._add("modulator_spread", modulation.std(axis=1))

    def _joined(self, flat: np.ndarray, names: list[str]) -> np.ndarray:
        fields = [self.layout.get(flat, name).reshape(len(flat), -1) for name in names]
        return fields[0] if len(fields) == 1 else np.concatenate(fields, axis=1)

    def _add(self, name: str, values: np.ndarray) -> None:
        self.sums.setdefault(name, []).append(float(values.sum()))


def run_job(job: Job) -> Outcome:
    """Runs the episodes.

    Returns:
        Of each episode "seed", "return" and "length"; "rewards", float32 [episodes,
        steps], 0 after the end; "correct", float32 [episodes, trials], NaN where there
        was no response; "explained", float64, NaN in tasks without a right command;
        "began", int64 [episodes, changes], the steps at which a context began, and -1
        for no more. Of a spiking policy also the sums of `InsideSums` ("inside/NAME",
        "inside/count").
    """
    policy: Any = _Baseline(job) if job.folder is None else loaded(job.folder)
    layout = layout_of(policy)
    initial_state = None
    if layout is not None:
        initial_state = policy.policy.initial_state(job.width)

    def make() -> gym.Env:
        return make_env(job.task, job.condition, job.previous, job.revealed, job.told)

    def run(seeds: Sequence[int], *hooks: Hook, options: Any = None) -> list[Episode]:
        return run_episodes(
            policy,
            make,
            seeds,
            width=job.width,
            deterministic=job.deterministic,
            initial_state=initial_state,
            hooks=hooks,
            options=options,
            envs=environments_of(job),
        )

    if layout is None:
        return _outcome(run(job.seeds))
    spiking = policy.policy.network.config.units == "spiking"
    inside = InsideSums(layout, max(1, job.task.horizon // SAMPLES), spiking)
    hooks: list[Hook] = [inside]
    condition = job.condition
    if condition.lesion is not None:
        wave = Wave(
            layout,
            job.seeds,
            job.width,
            freeze_at=condition.freeze_at(job.task.horizon),
            run_intact=run,
            has_contexts=condition.has_contexts,
        )
        hooks.insert(0, LESIONS[condition.lesion].hook(wave))
    outcome = _outcome(run(job.seeds, *hooks))
    for name, sums in inside.sums.items():
        outcome[f"inside/{name}"] = np.array(sums)
    return outcome


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome out of those of several episodes or waves."""
    result = {}
    for name in outcomes[0]:
        parts = [outcome[name] for outcome in outcomes]
        inside = name.startswith("inside/")
        if inside or parts[0].ndim == 2:  # episodes of the others may have been shorter
            length = max(part.shape[-1] for part in parts)
            fill = FILLED.get(name, 0.0)
            parts = [_filled(part, length, fill) for part in parts]
        result[name] = np.sum(parts, axis=0) if inside else np.concatenate(parts)
    return result


def _filled(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    """Values [..., any] with others appended, [..., length]."""
    unchanged = [(0, 0)] * (values.ndim - 1)
    missing = (0, length - values.shape[-1])
    return np.pad(values, [*unchanged, missing], constant_values=fill)


@lru_cache(maxsize=32)
def loaded(folder: Path) -> DeployedPolicy:
    """The policy of a folder."""
    return load_policy(folder)


class _Baseline:
    """Acts without a look at anything, each episode by a seed of its own."""

    def __init__(self, job: Job) -> None:
        self.spaces: dict[int, gym.Space[Any]] = {}
        with closing(make_env(job.task, job.condition)) as env:
            for seed in job.seeds:
                space = deepcopy(env.action_space)
                space.seed(seed + APART)
                self.spaces[seed % job.width] = space
        self.choose = BASELINES[job.baseline]

    def predict(self, *_: Any) -> tuple[dict[int, Any], None]:
        """An action for each row that has an episode."""
        return {row: self.choose(space) for row, space in self.spaces.items()}, None


def _outcome(episodes: Sequence[Episode]) -> Outcome:
    every = [
        {
            "seed": np.array([episode.seed]),
            "return": np.array([episode.total_reward]),
            "length": np.array([episode.length]),
            "rewards": np.array([episode.rewards], np.float32),
            "correct": np.array([episode.correct], np.float32),
            "explained": np.array([episode.explained]),
            "began": np.array([episode.began], np.int64),
        }
        for episode in episodes
    ]
    return joined(every)
