"""Tracking with Weights & Biases (`--track`): a writer for SB3's logger, and the run behind it."""

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    Figure,
    FormatUnsupportedError,
    HParam,
    Image,
    KVWriter,
    Video,
)
from tqdm import tqdm

from spikepropamine.common import reason, write_text
from spikepropamine.reading import read_json
from spikepropamine.tracking import policy_artifact, start
from spikepropamine.training.checkpoints import listed
from spikepropamine.training.settings import Settings


class WandbWriter(KVWriter):
    """Writes all that goes through SB3's logger to a wandb run, over the axis `global_step`.

    A value that is a `Path` is logged as the video (mp4) in that file. Keys excluded from "wandb"
    are left out. The run's id, and the last step that it has, are kept in `wandb/run.json` in the
    folder of the run, so that a resumed training goes on with the same run; steps which that one
    already has, trained again after a crash, are not logged twice. Whatever goes wrong later on
    ends the tracking, with one line, and not the training.

    Args:
        settings: of the training; `settings.track` is "offline" or "online".
        config: what is shown as the run's configuration.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """

    def __init__(self, settings: Settings, config: dict[str, Any]) -> None:
        assert settings.track != "off"
        self.folder, self.mode = settings.folder, settings.track
        self.file = self.folder.wandb / "run.json"
        before = read_json(self.file) if self.file.is_file() else {}
        self.last_step = before.get("last_step", -1)
        self.run = start(
            settings.track,
            self.folder.path,
            {"*": "global_step"},
            ["training", settings.env, settings.policy],
            id=before.get("id"),
            resume="allow",
            name=f"{settings.policy} {settings.env} seed {settings.seed}",
            group=f"{settings.env} {settings.policy}",
            job_type="train",
            config=config["settings"] | {"versions": config["versions"]},
        )
        self.failed = False
        self._remember()

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # of many kinds, a service that was killed among them
            self.failed = True
            tqdm.write(f"tracking ends here, training goes on: {reason(error)}", file=sys.stderr)

    def _remember(self) -> None:
        known = {"id": self.run.id, "last_step": self.last_step}
        write_text(self.file, json.dumps(known) + "\n")

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Logs one row."""
        if step <= self.last_step:
            return
        row = {
            key: loggable(value)
            for key, value in key_values.items()
            if "wandb" not in (key_excluded[key] or ())
        }
        with _interrupted_later():  # or nobody knew whether the run has the row
            self._attempt(lambda: self.run.log(row | {"global_step": step}))
            if not self.failed:
                self.last_step = step
                self._remember()

    def log_checkpoint(self) -> None:
        """Logs what others load as a model artifact, and what resuming needs as a checkpoint."""
        import wandb

        def log() -> None:
            model = policy_artifact(self.folder)
            name = model.name  # which wandb appends the version to, once it has it
            self.run.log_artifact(model)
            checkpoint = listed(self.folder.checkpoints)[0]
            artifact = wandb.Artifact(f"{name}-checkpoint", type="checkpoint")
            artifact.add_file(str(checkpoint), name=f"checkpoints/{checkpoint.name}")
            self.run.log_artifact(artifact)

        self._attempt(log)

    def finish(self, exit_code: int = 0) -> None:
        """Ends the run; says how to upload an offline one."""
        self._attempt(lambda: self.run.finish(exit_code=exit_code))
        if self.mode == "offline":
            runs = shlex.quote(str(self.folder.wandb))
            print(f"tracked offline; upload with: wandb sync {runs}/offline-run-*")

    def close(self) -> None:
        """Leaves the run open, for the checkpoint; `finish` ends it."""


@contextmanager
def tracked(settings: Settings, config: dict[str, Any]) -> Iterator[list[KVWriter]]:
    """What the logger writes to for the sake of `settings.track`: nothing, or a `WandbWriter`.

    When training is over its checkpoint is logged and the run ended, as failed if it did fail.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    if settings.track == "off":
        yield []
        return
    writer = WandbWriter(settings, config)
    exit_code = 1
    try:
        yield [writer]
        writer.log_checkpoint()
        exit_code = 0
    except KeyboardInterrupt:
        exit_code = 130
        raise
    finally:
        writer.finish(exit_code)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Holds back Ctrl-C, and a stop that is taken as such, until what is inside is done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    came: list[Any] = []
    before: dict[int, Any] = {
        number: signal.signal(number, lambda *arguments: came.append(arguments))
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            before[number](number, frame)


def loggable(value: Any) -> Any:
    """What wandb takes for a value of SB3's logger.

    Raises:
        FormatUnsupportedError: for SB3's figures, images and frames; a `Path` of a video works.
    """
    if isinstance(value, Path):
        import wandb

        return wandb.Video(str(value), format="mp4")
    if isinstance(value, Figure | Image | Video | HParam):
        raise FormatUnsupportedError(["wandb"], type(value).__name__.lower())
    return value
