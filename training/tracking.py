"""Tracking with Weights & Biases (`--track`): a writer for SB3's logger, and the run behind it."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from stable_baselines3.common.logger import (
    Figure,
    FormatUnsupportedError,
    HParam,
    Image,
    KVWriter,
    Video,
)
from tqdm import tqdm

from spikepropamine.training.settings import Settings, UsageError

# wandb is imported in functions alone: with `--track off`, the default, nothing of it is loaded

Mode = Literal["off", "offline", "online"]
On = Literal["offline", "online"]

PROJECT = "spikepropamine"
"""Where runs go, unless the environment variable WANDB_PROJECT names another project."""


def check_credentials(mode: Mode) -> None:
    """Before any work is done: asks the server whether the account works, if there is to be one.

    Raises:
        UsageError: online, and there are no credentials, or the server does not take them.
    """
    if mode != "online":
        return
    import wandb

    wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    try:
        found = wandb.login(prompt=False, verify=True)
    except wandb.Error as error:
        raise UsageError(
            f"--track online: {one_line(error)} (--track offline needs none)"
        ) from error
    if not found:
        raise UsageError(
            "--track online needs an account: run `wandb login` or set WANDB_API_KEY; "
            "or take --track offline, which needs none and can be uploaded later"
        )


def one_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop; its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def start(mode: On, folder: Path, axes: dict[str, str], **arguments: Any) -> Any:
    """Starts a wandb run whose files, artifacts included, lie in `folder/wandb`.

    Args:
        mode: where it goes.
        folder: must exist.
        axes: over which metric others are drawn: names, a `*` at the end stands for any, to axis.
        arguments: for `wandb.init`: name, group, job_type, config, id and so on.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").absolute())  # not somewhere in the home
    if mode == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # offline is offline
    os.environ["WANDB_DISABLE_WEAVE"] = "true"  # it takes our package `agents` for OpenAI's
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(mode=mode, silent=mode == "offline"))
        run = wandb.init(
            mode=mode,
            dir=folder,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            # standard output belongs to the progress bar
            settings=wandb.Settings(console="off"),
            **arguments,
        )
    except wandb.Error as error:
        raise UsageError(f"--track {mode}: {one_line(error)}") from error
    for axis in dict.fromkeys(axes.values()):
        run.define_metric(axis, hidden=True)
    for names, axis in axes.items():
        run.define_metric(names, step_metric=axis)
    return run


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
        # artifacts may not have a slash in their name, tasks may
        self.name = f"{settings.env}-{settings.policy}-seed-{settings.seed}".replace("/", "-")
        self.file = self.folder / "wandb" / "run.json"
        before = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.last_step = before.get("last_step", -1)
        self.run = start(
            settings.track,
            self.folder,
            {"*": "global_step"},
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
            tqdm.write(f"tracking ends here, training goes on: {one_line(error)}", file=sys.stderr)

    def _remember(self) -> None:
        part = self.file.with_name("run.json.part")
        part.write_text(json.dumps({"id": self.run.id, "last_step": self.last_step}) + "\n")
        part.replace(self.file)

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Logs one row."""
        if step <= self.last_step:
            return
        row = {
            key: loggable(value)
            for key, value in key_values.items()
            if "wandb" not in (key_excluded[key] or ())
        }
        self._attempt(lambda: self.run.log(row | {"global_step": step}))
        if not self.failed:
            self.last_step = step
            self._remember()

    def log_checkpoint(self, metadata: dict[str, Any]) -> None:
        """Logs the run folder, as far as evaluating and resuming need it, as a model artifact."""
        import wandb

        def log() -> None:
            artifact = wandb.Artifact(self.name, type="model", metadata=metadata)
            artifact.add_file(str(self.folder / "config.yaml"))
            for part in ("policy", "checkpoints/last"):
                artifact.add_dir(str(self.folder / part), name=part)
            self.run.log_artifact(artifact)

        self._attempt(log)

    def finish(self, exit_code: int = 0) -> None:
        """Ends the run; says how to upload an offline one."""
        self._attempt(lambda: self.run.finish(exit_code=exit_code))
        if self.mode == "offline":
            print(f"tracked offline; upload with: wandb sync {self.folder}/wandb/offline-run-*")

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
        writer.log_checkpoint(config)
        exit_code = 0
    except KeyboardInterrupt:
        exit_code = 130
        raise
    finally:
        writer.finish(exit_code)


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
