"""Checkpoints: what a training run goes on from."""

import os
import shutil
from pathlib import Path

import torch
from stable_baselines3.common.callbacks import BaseCallback


class Diverged(Exception):
    """Training produced numbers that are not finite, explained in one line."""


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
