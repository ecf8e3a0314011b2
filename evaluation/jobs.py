"""The unit of work of an evaluation: one policy, one condition, one wave of episodes.

What a job gives is a function of the job, so it is kept on disk under a name made of everything
that it depends on; a job whose file is there is never run again.
"""

import hashlib
import itertools
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.envs.making import make
from spikepropamine.evaluation.conditions import Condition, Task, make_env, spread_of
from spikepropamine.evaluation.episodes import Episode, Hook, Progress, run_episodes
from spikepropamine.evaluation.lesions import layout_of, lesion_hook
from spikepropamine.evaluation.traces import ModulationMean, Traces
from spikepropamine.policies.export import DeployedPolicy, load_policy

SAMPLES = 200  # of the traces, over the horizon
ROOT = Path(__file__).parents[1]
# what the numbers depend on, besides the packages
SOURCES = ["envs", "policies", "evaluation/episodes.py", "evaluation/jobs.py"]
SOURCES += ["evaluation/conditions.py", "evaluation/lesions.py", "evaluation/traces.py"]

Outcome = dict[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """One wave of episodes.

    Attributes:
        folder: of the deployed policy; None: random actions.
        previous: whether the policy observes its previous action and reward.
        task, condition: what it is judged in.
        seeds: of the episodes, of one wave: `seed // width` is the same for all.
        width: of the batch.
        deterministic: the likeliest actions, or drawn ones.
        modulation: means of the neuromodulators, where they are held at these.
        revealed: text with the contexts that the policy observes; None: none.
    """

    folder: Path | None
    previous: bool
    task: Task
    condition: Condition
    seeds: tuple[int, ...]
    width: int
    deterministic: bool
    modulation: Mapping[str, np.ndarray] | None = None
    revealed: str | None = None

    @property
    def episodes(self) -> int:
        """How many episodes it runs; some lesions need another one for each."""
        twice = self.condition.lesion in ("modulator-shuffled", "carry-over")
        return len(self.seeds) * (1 + twice)

    @property
    def freeze_at(self) -> int | None:
        """The step at which fast weights are frozen, where they are."""
        if self.condition.onset is not None:
            return self.condition.onset
        return None if self.task.horizon is None else self.task.horizon // 2

    def name(self, digest: str, versions: Mapping[str, str]) -> str:
        """Of its file: tells apart all jobs that may give different numbers.

        Args:
            digest: of the policy's files.
            versions: of the packages that matter.
        """
        lesion = self.condition.lesion
        parts = {
            "policy": digest,
            "previous": self.previous,
            "revealed": self.revealed,
            "environment": self.task.environment,
            "arguments": self.task.arguments,
            "horizon": self.task.horizon,
            "text": self.condition.text,
            "noise": self.condition.noise,
            "lesion": lesion,
            "freeze_at": self.freeze_at if lesion == "frozen" else None,
            "modulation": {k: v.tobytes().hex() for k, v in (self.modulation or {}).items()},
            "seeds": self.seeds,
            "width": self.width,
            "deterministic": self.deterministic,
            "sources": sources_digest(),
            "versions": {k: v for k, v in versions.items() if k != "revision"},
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32] + ".npz"


def waves(seeds: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """The seeds, cut where `run_episodes` begins another wave."""
    blocks = itertools.groupby(sorted(seeds), key=lambda seed: seed // width)
    return [tuple(block) for _, block in blocks]


def width_of(task: Task) -> int:
    """Rows of a batch. More are faster, where the environment is not what takes the time; but a
    batch is computed as a whole, however few episodes there are.
    """
    return 20 if task.simulated else 50


def run_job(job: Job, progress: Progress | None = None) -> Outcome:
    """Runs the episodes.

    Returns:
        For each episode "seed", "return", "length"; "rewards" float32 [episodes, steps], 0 after
        the end; "correct" float32 [episodes, trials], NaN where there was no response. Of a
        spiking policy also the sums of `Traces` ("trace/NAME", "trace/count"); of an intact one in
        the nominal condition those of `ModulationMean` ("modulation/NAME", "modulation/count").
    """
    if job.folder is None:
        return _outcome(_run_random(job, progress))
    policy = _policy(job.folder)
    spread = spread_of(policy, job.task)
    layout = layout_of(policy)

    inner: Any = policy.policy

    def run(seeds: Sequence[int], *hooks: Hook) -> list[Episode]:
        state = None if layout is None else inner.initial_state(job.width)
        return run_episodes(
            policy,
            lambda: make_env(job.task, job.condition, spread, job.previous, job.revealed),
            seeds,
            width=job.width,
            deterministic=job.deterministic,
            initial_state=state,
            hooks=hooks,
            progress=progress,
        )

    if layout is None:
        return _outcome(run(job.seeds))
    condition = job.condition
    traces = Traces(layout, max(1, (job.task.horizon or 0) // SAMPLES))
    means = ModulationMean(layout)
    hooks: list[Hook] = [traces]
    if condition.lesion is not None:
        lesion = condition.lesion
        arguments = (layout, job.seeds, job.width, job.freeze_at, job.modulation)
        hooks.insert(0, lesion_hook(lesion, *arguments, run_intact=run))
    elif not condition.text and not condition.noise:
        hooks.append(means)
    outcome = _outcome(run(job.seeds, *hooks))
    outcome |= {f"trace/{name}": np.array(sums) for name, sums in traces.sums.items()}
    outcome["trace/count"] = np.array(traces.counts)
    if means in hooks:
        outcome |= {f"modulation/{name}": total for name, total in means.sums.items()}
        outcome["modulation/count"] = np.array(means.count)
    return outcome


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome out of those of several waves."""
    result = {}
    for name in outcomes[0]:
        parts = [outcome[name] for outcome in outcomes]
        if name.startswith("modulation/"):
            result[name] = np.sum(parts, axis=0)
        elif name.startswith("trace/"):
            # episodes of the other waves may have been shorter
            length = max(map(len, parts))
            result[name] = np.sum([np.pad(x, (0, length - len(x))) for x in parts], axis=0)
        elif parts[0].ndim == 2:
            length = max(part.shape[1] for part in parts)
            fill = 0.0 if name == "rewards" else np.nan
            result[name] = np.concatenate(
                [np.pad(x, ((0, 0), (0, length - x.shape[1])), constant_values=fill) for x in parts]
            )
        else:
            result[name] = np.concatenate(parts)
    return result


def read(path: Path) -> Outcome | None:
    """What `write` wrote; None where there is nothing, or something damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write(path: Path, outcome: Outcome) -> None:
    """Writes under another name first, so that nobody finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # another process may write it too
    try:
        with part.open("wb") as file:
            np.savez(file, **outcome)  # type: ignore[arg-type]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def digest_of(folder: Path) -> str:
    """Of the contents of the files in a folder."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        total.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}".encode())
    return total.hexdigest()


@cache
def sources_digest() -> str:
    """Of the code that makes the numbers."""
    total = hashlib.sha256()
    for name in SOURCES:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(file.read_bytes())
    return total.hexdigest()


@lru_cache(maxsize=2)
def _policy(folder: Path) -> DeployedPolicy:
    return load_policy(folder)


def _run_random(job: Job, progress: Progress | None) -> list[Episode]:
    """Actions drawn from the action space, by a generator seeded like the episode."""
    env = make(job.task.environment, job.task.arguments)
    episodes = []
    for seed in job.seeds:
        env.reset(seed=seed)
        env.action_space.seed(seed)
        rewards, over = [], False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rewards.append(float(reward))
            over = terminated or truncated
            if progress is not None:
                progress.stepped(1)
        if progress is not None:
            progress.ended(len(rewards))
        episodes.append(Episode(seed, sum(rewards), len(rewards), (), tuple(rewards)))
    env.close()
    return episodes


def _outcome(episodes: Sequence[Episode]) -> Outcome:
    rewards = np.zeros((len(episodes), max(e.length for e in episodes)), dtype=np.float32)
    correct = np.full((len(episodes), max(len(e.correct) for e in episodes)), np.nan, np.float32)
    for row, episode in enumerate(episodes):
        rewards[row, : episode.length] = episode.rewards
        correct[row, : len(episode.correct)] = episode.correct
    return {
        "seed": np.array([episode.seed for episode in episodes]),
        "return": np.array([episode.total_reward for episode in episodes]),
        "length": np.array([episode.length for episode in episodes]),
        "rewards": rewards,
        "correct": correct,
    }
