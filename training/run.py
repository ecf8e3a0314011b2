"""A training run: environments, algorithm, logging, checkpoints, and the policy it leaves."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, cast

import gymnasium as gym
import numpy as np
import torch
import yaml
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HumanOutputFormat,
    Logger,
    TensorBoardOutputFormat,
)
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from spikepropamine.agents.teacher import Taught
from spikepropamine.agents.zoo import actor_parameters, build, match_hidden, network_of
from spikepropamine.envs import making
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy, space_to_json
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.diagnostics import Diagnostics
from spikepropamine.training.filming import Film, Films
from spikepropamine.training.settings import Settings, UsageError, defaults
from spikepropamine.training.tracking import check_credentials, tracked


class Diverged(Exception):
    """Training produced numbers that are not finite, explained in one line."""


PACKAGES = ("stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "torch", "numpy")


def train(settings: Settings, film: Film | None = None) -> None:
    """Trains, or with `settings.resume` goes on training, and writes the run folder.

    Args:
        settings: what to train, and how.
        film: makes the videos that `settings.video_every` asks for; None: there are none.

    Raises:
        UsageError: input that cannot work; nothing has been written then.
        KeyboardInterrupt: after the checkpoint of an interrupted run has been written.
        Diverged: training broke down.
    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    folder = settings.folder
    checkpoint = _check_folder(settings)
    check_credentials(settings.track)
    venv = make_envs(settings)
    network = network_of(settings.policy, settings.network)  # what the policy's name stands for
    settings = replace(settings, network=network)
    try:
        if settings.match_parameters and checkpoint is None:
            network = _matched(settings, settings.match_parameters, venv)
            settings = replace(settings, network=network)
        algorithm = build(
            settings.policy,
            venv,
            settings.network,
            settings.trainer,
            settings.seed,
            settings.device,
            settings.backend,
        )
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error)) from error
    done = 0
    if settings.start_from is not None and checkpoint is None:
        _start_from(algorithm, settings.start_from)
    if checkpoint is not None:
        algorithm, venv = _restore(algorithm, venv, checkpoint, settings)
        done = algorithm.num_timesteps
    elif folder.exists():
        shutil.rmtree(folder)
    if done >= settings.steps:
        print(f"{folder} is already trained for {done} steps; raise --steps to go on")
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = {"settings": settings.as_dict(), "versions": versions(), "command": sys.argv}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    print(
        f"{settings.policy} on {settings.env}, seed {settings.seed}: "
        f"{actor_parameters(algorithm.policy):,} parameters in the actor, "
        f"{sum(p.numel() for p in algorithm.policy.parameters()):,} with the critic"
    )
    with tracked(settings, config) as writers:
        csv = ResumableCSV(folder / "progress.csv", done)
        console = HumanOutputFormat(cast(TextIO, BarFriendly()))
        if settings.tensorboard:
            writers.append(ResumableTensorBoard(folder / "tensorboard", done))
        algorithm.set_logger(Logger(str(folder), [console, csv, *writers]))
        saver = Checkpoints(folder / "checkpoints", settings.checkpoint_every)
        diagnostics, progress = Diagnostics(settings.log_every), Progress(settings.steps)
        callbacks: list[BaseCallback] = [CueAccuracy(), diagnostics, saver, progress]
        if film is not None:
            callbacks.append(Films(film, settings.video_every))
        interrupted = False
        try:
            algorithm.learn(
                settings.steps - done,
                callback=CallbackList(callbacks),
                log_interval=settings.log_every,
                reset_num_timesteps=not done,
            )
            if csv.last_step != algorithm.num_timesteps:  # rollouts short of a whole `log_every`
                algorithm.dump_logs(algorithm._n_updates // settings.trainer.n_epochs)
        except KeyboardInterrupt:
            interrupted = True
        except ValueError:  # PyTorch's distributions refuse what is no number
            saver.check()
            raise
        saver.save()
        metadata = config | {"steps": algorithm.num_timesteps}
        normalisation = algorithm.get_vec_normalize_env()
        save_policy(folder / "policy", algorithm.policy, normalisation, metadata)
        algorithm.logger.close()
        venv.close()
        if interrupted:
            raise KeyboardInterrupt
    print(f"trained for {algorithm.num_timesteps:,} steps; the policy is in {folder / 'policy'}")


def _check_folder(settings: Settings) -> Path | None:
    """The checkpoint to resume from, if any; refuses to mix a new run with an old one."""
    folder, last = settings.folder, settings.folder / "checkpoints" / "last"
    if settings.resume:
        if not last.exists():
            raise UsageError(f"nothing to resume: there is no checkpoint in {last.parent}")
        return last
    if folder.exists() and not settings.overwrite:
        raise UsageError(f"{folder} exists; go on with --resume, or replace it with --overwrite")
    return None


def env_maker(settings: Settings) -> partial[gym.Env]:
    """Makes one training environment; takes other `arguments` for its constructor.

    Raises:
        UsageError: perturbations that do not work.
    """
    arguments = cast(dict[str, Any], settings.env_kwargs)
    make_one = partial(making.make, settings.env, arguments=arguments, previous=settings.previous)
    if settings.perturb is None:
        return make_one
    try:
        text = making.training_text(settings.perturb, settings.env)
        spread = making.measured_spread(settings.env, arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return partial(make_one, perturb=text, spread=spread)


def make_envs(settings: Settings) -> VecEnv:
    """The training environments, seeded and normalised.

    Raises:
        UsageError: arguments or spaces that do not work.
    """
    make_one = env_maker(settings)
    try:
        env = make_one()
        space_to_json(env.observation_space)
        space_to_json(env.action_space)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if isinstance(env.action_space, gym.spaces.Box) and not env.action_space.is_bounded():
        raise UsageError(f"{settings.env}: the action space must be bounded")
    taught = settings.teacher is not None
    if settings.trainer.kind == "supervised" and not taught and not _reports_targets(env):
        raise UsageError(
            f"{settings.env} reports no info['target'] to learn from; "
            "use --trainer.kind ppo, a cue task, or a --teacher"
        )
    env.close()
    venv = make_vec_env(make_one, settings.n_envs, settings.seed)
    if settings.teacher is not None:
        venv = _taught(venv, settings, settings.teacher)
    space, keys = venv.observation_space, None
    has_boxes = isinstance(space, gym.spaces.Box)
    if isinstance(space, gym.spaces.Dict):
        keys = [key for key, part in space.items() if isinstance(part, gym.spaces.Box)]
        has_boxes = bool(keys)
    normalize = settings.normalize_observations and has_boxes
    if normalize or settings.normalize_rewards:
        venv = VecNormalize(
            venv,
            norm_obs=normalize,
            norm_reward=settings.normalize_rewards,
            gamma=settings.trainer.gamma,
            norm_obs_keys=keys if normalize else None,
        )
    return venv


def _taught(venv: VecEnv, settings: Settings, teacher: Path) -> Taught:
    try:
        policy = load_policy(teacher / "policy")
        trainer = settings.trainer
        return Taught(venv, policy, trainer.guided_steps, trainer.opening, settings.seed)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--teacher {teacher}: {error}") from error


def _start_from(algorithm: OnPolicyAlgorithm, folder: Path) -> None:
    """Gives a new algorithm the weights and the normalisation of a trained policy."""
    try:
        trained = load_policy(folder / "policy")
        algorithm.policy.load_state_dict(trained.policy.state_dict())
        normalisation, venv = trained.normalisation, algorithm.get_vec_normalize_env()
        if normalisation is not None and venv is not None:
            normalisation.give(venv)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise UsageError(f"--from {folder}: {str(error).splitlines()[0]}") from error


def _reports_targets(env: gym.Env) -> bool:
    """Whether one episode (or its first 10 000 steps) of random actions reports a target."""
    env.reset(seed=0)
    for _ in range(10_000):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        if "target" in info:
            return True
        if terminated or truncated:
            return False
    return False


def _matched(settings: Settings, policy: str, venv: VecEnv) -> NetworkConfig:
    """The network that makes the actor as large as that of `policy` with its own defaults."""
    other = defaults(settings.env, policy)
    target = actor_parameters(build(policy, venv, other.network, other.trainer).policy)
    return match_hidden(settings.policy, target, venv, settings.network, settings.trainer)


def _restore(
    algorithm: OnPolicyAlgorithm, venv: VecEnv, checkpoint: Path, settings: Settings
) -> tuple[OnPolicyAlgorithm, VecEnv]:
    if isinstance(venv, VecNormalize):
        venv = VecNormalize.load(str(checkpoint / "normalisation.pkl"), venv.venv)
    algorithm = type(algorithm).load(checkpoint / "model.zip", env=venv, device=settings.device)
    # a new stream of randomness: the old one would repeat the first episodes
    algorithm.set_random_seed(settings.seed + algorithm.num_timesteps)
    return algorithm, venv


def versions() -> dict[str, str]:
    """Versions of Python, the packages that results depend on, the processor, and the revision."""
    found = {"python": platform.python_version(), "processor": platform.machine()}
    found |= {name: version(name) for name in PACKAGES}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found | {"revision": git.stdout.strip() or "unknown"}


class Checkpoints(BaseCallback):
    """Saves what training resumes from, in `folder/last`, replacing it in one step."""

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__()
        self.folder, self.every = folder, every

    def _on_training_start(self) -> None:
        self.saved_at = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # between an update and the next rollout, so that no half-used rollout is lost or repeated
        if self.num_timesteps - self.saved_at >= self.every:
            self.save()

    def check(self) -> None:
        """Raises Diverged if a parameter is no number any more; leaves the last checkpoint."""
        if all(torch.isfinite(p).all() for p in self.model.policy.parameters()):
            return
        last = self.folder / "last"
        kept = f"; the last good checkpoint is in {last}" if last.exists() else ""
        raise Diverged(
            f"training diverged before step {self.model.num_timesteps}: a parameter is not finite; "
            f"try a smaller trainer.learning_rate or trainer.sequence_length{kept}"
        )

    def save(self) -> None:
        """Writes a checkpoint now.

        Raises:
            Diverged: see `check`.
        """
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        new, last, old = (self.folder / name for name in ("new", "last", "old"))
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir()
        self.model.save(new / "model.zip")
        if (normalisation := self.model.get_vec_normalize_env()) is not None:
            normalisation.save(str(new / "normalisation.pkl"))
        if last.exists():
            os.replace(last, old)
        os.replace(new, last)
        shutil.rmtree(old, ignore_errors=True)
        self.saved_at = self.model.num_timesteps


class CueAccuracy(BaseCallback):
    """Logs the accuracy of the responses of a cue task, by trial and over the second half."""

    def __init__(self) -> None:
        super().__init__()
        self.trials = 1
        self.results: list[tuple[int, bool]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "correct" in info:
                self.trials = max(self.trials, info["trial"] + 1)
                self.results.append((info["trial"], info["correct"]))
        return True

    def _on_rollout_end(self) -> None:
        late = [correct for trial, correct in self.results if trial >= self.trials // 2]
        if late:
            self.logger.record("rollout/late_accuracy", float(np.mean(late)))
        for trial in sorted({trial for trial, _ in self.results}):
            some = [correct for t, correct in self.results if t == trial]
            name = f"adaptation/accuracy/trial_{trial}"
            self.logger.record(name, float(np.mean(some)), exclude="stdout")
        self.results.clear()


class Progress(BaseCallback):
    """A progress bar with the rate, the time left, and the latest return."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total

    def _on_training_start(self) -> None:
        self.bar = tqdm(
            total=self.total,
            initial=self.num_timesteps,
            unit=" steps",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            dynamic_ncols=True,
        )

    def _on_step(self) -> bool:
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_rollout_end(self) -> None:
        if self.model.ep_info_buffer:
            mean = np.mean([episode["r"] for episode in self.model.ep_info_buffer])
            self.bar.set_postfix_str(f"return {mean:.1f}", refresh=False)

    def _on_training_end(self) -> None:
        self.bar.close()


class BarFriendly:
    """Standard output for tables that must not tear a progress bar apart."""

    def write(self, text: str) -> None:
        """Prints above the bar."""
        tqdm.write(text, file=sys.stdout, end="")

    def flush(self) -> None:
        """Shows what was printed."""
        sys.stdout.flush()


class ResumableCSV(CSVOutputFormat):
    """SB3's CSV writer, which keeps the rows that an interrupted run had already written.

    Args:
        path: the file.
        steps: environment steps of the checkpoint that the run goes on from; later rows are
            dropped, since they are about to be made again.
    """

    STEPS = "time/total_timesteps"

    def __init__(self, path: Path, steps: int) -> None:
        old = path.read_text().splitlines() if steps and path.exists() else []
        super().__init__(str(path))
        self.last_step = steps
        if old:
            self.keys = old[0].split(",")
            column = self.keys.index(self.STEPS)
            rows = [row for row in old[1:] if float(row.split(",")[column]) <= steps]
            self.file.write("\n".join([old[0], *rows]) + "\n")
            self.file.flush()

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        """As SB3's."""
        super().write(key_values, key_excluded, step)
        self.last_step = step


class ResumableTensorBoard(TensorBoardOutputFormat):
    """SB3's TensorBoard writer, which hides what an interrupted run had written after `steps`."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=steps + 1)
        self._is_closed = False
