"""Where the rows of SB3's logger go besides the console: progress.csv, TensorBoard, and
Weights & Biases (`--track`).
"""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common import logger as sb3
from tqdm import tqdm

from spikepropamine.common import appended, reason, whole_file, write_text
from spikepropamine.folder import STEPS, read_progress
from spikepropamine.reading import read_json
from spikepropamine.tracking import policy_artifact, say_how_to_upload, start
from spikepropamine.training.checkpoints import listed
from spikepropamine.training.settings import Settings


class ProgressCSV(sb3.KVWriter):
    """Appends rows to a CSV file, and keeps those that an interrupted run had already
    written.

    Rows are appended; only where a new column appears is the file written anew, as a
    whole. So whenever the process dies, at most the row that is being written is lost.

    Args:
        path: of the file.
        steps: of the checkpoint that the run goes on from; later rows are dropped,
            since they are about to be made again. 0: of a new run.
    """

    def __init__(self, path: Path, steps: int) -> None:
        self.path = path
        keys: list[str] = []
        rows: list[dict[str, str]] = []
        if steps:
            keys, rows = read_progress(path)
        self._rewrite(keys, [row for row in rows if float(row[STEPS]) <= steps])

    def _rewrite(self, keys: list[str], rows: list[dict[str, str]]) -> None:
        """Writes the file anew, with these columns and rows, and leaves it open for
        more rows.
        """
        self.keys = keys
        with (
            whole_file(self.path) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, keys, lineterminator="\n")
            if keys:
                writer.writeheader()
            writer.writerows(rows)
        self.file = appended(self.path)

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Appends one row.

        Args:
            key_values: of the row.
            key_excluded: formats that a key is not for.
            step: environment steps so far, which are among the values, too.
        """
        row = sb3.filter_excluded_keys(key_values, key_excluded, "csv")
        new = sorted(row.keys() - self.keys)
        if new:
            self.close()
            self._rewrite([*self.keys, *new], read_progress(self.path)[1])
        csv.DictWriter(self.file, self.keys, lineterminator="\n").writerow(row)
        self.file.flush()

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


class ResumableTensorBoard(sb3.TensorBoardOutputFormat):
    """SB3's TensorBoard writer, which hides what an interrupted run had written after
    `steps`.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # of the extra `tensorboard`

        self.writer = SummaryWriter(str(folder), purge_step=steps + 1)
        self._is_closed = False


class WandbWriter(sb3.KVWriter):
    """Writes all that goes through SB3's logger to a wandb run, over the axis
    `global_step`.

    A value that is a `Path` is logged as the video (mp4) in that file. Keys excluded
    from "wandb" are left out. The run's id, and the last step that it has, are kept in
    `wandb/run.json` in the folder of the run, so that a resumed training goes on with
    the same run; steps which that one already has, trained again after a crash, are not
    logged twice. Whatever goes wrong later on ends the tracking, with one line, and not
    the training.

    At the end of a `with`, the checkpoint is logged and the run ended, as failed if it
    did fail.

    Args:
        settings: of the training.
        config: its settings and versions, plain values.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """

    def __init__(self, settings: Settings, config: dict[str, Any]) -> None:
        assert settings.track != "off"
        self.folder = settings.folder
        self.mode = settings.track
        self.file = self.folder.wandb / "run.json"
        before = read_json(self.file) if self.file.is_file() else {}
        self.resumed_at = before.get("last_step", -1)
        """The last step that the run had."""
        self.last_step = self.resumed_at
        """The last step that it has."""
        self.run = start(
            settings.track,
            self.folder.path,
            ["training", settings.env, settings.policy],
            id=before.get("id"),
            resume="allow",
            name=f"{settings.policy} {settings.env} seed {settings.seed}",
            group=f"{settings.env} {settings.policy}",
            job_type="train",
            config=config["settings"] | {"versions": config["versions"]},
        )
        self.run.define_metric("global_step", hidden=True)
        self.run.define_metric("*", step_metric="global_step")
        self.failed = False
        self._remember()

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Does it, and then keeps what the run has."""
        if self.failed:
            return
        try:
            action()
            self._remember()
        except Exception as error:
            # of many kinds, a service that was killed among them
            self.failed = True
            tqdm.write(
                f"tracking ends here, training goes on: {reason(error)}",
                file=sys.stderr,
            )

    def _remember(self) -> None:
        write_text(
            self.file,
            json.dumps({"id": self.run.id, "last_step": self.last_step}) + "\n",
        )

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Logs one row.

        Args:
            key_values: of the row.
            key_excluded: formats that a key is not for.
            step: environment steps so far.
        """
        if step <= self.resumed_at:
            return
        # first, so that a row at which Ctrl-C comes is not logged again
        self.last_step = step
        kept = sb3.filter_excluded_keys(key_values, key_excluded, "wandb")
        row = {key: _loggable(value) for key, value in kept.items()}
        row["global_step"] = step
        self._attempt(lambda: self.run.log(row))

    def log_checkpoint(self) -> None:
        """Logs what others load as a model artifact, and what resuming needs as a
        checkpoint.
        """
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

    def close(self) -> None:
        """Leaves the run open, for the checkpoint."""

    def __enter__(self) -> "WandbWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is None:
                self.log_checkpoint()
        finally:
            code = _exit_code(kind)
            self._attempt(self._remember)
            self._attempt(lambda: self.run.finish(exit_code=code))
            say_how_to_upload(self.mode, self.folder.path)


def _exit_code(error: type[BaseException] | None) -> int:
    """The exit code of a command that ended with an error, or with none."""
    if error is None:
        return 0
    return 130 if error is KeyboardInterrupt else 1


def _loggable(value: object) -> Any:
    """What wandb takes for a value of SB3's logger. Raises FormatUnsupportedError for
    its figures, images and frames; a `Path` of a video works.
    """
    if isinstance(value, Path):
        import wandb

        return wandb.Video(str(value), format="mp4")
    if isinstance(value, sb3.Figure | sb3.Image | sb3.Video | sb3.HParam):
        raise sb3.FormatUnsupportedError(["wandb"], type(value).__name__.lower())
    return value
