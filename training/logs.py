"""Where the rows of SB3's logger go besides the console: progress.csv and TensorBoard."""

import csv
import os
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, TensorBoardOutputFormat, filter_excluded_keys

from spikepropamine.common import appended, whole_file
from spikepropamine.progress_csv import STEPS, read_progress


class ProgressCSV(KVWriter):
    """Appends rows to a CSV file, and keeps those that an interrupted run had already written.

    Rows are appended; only where a new column appears is the file written anew, as a whole. So
    whenever the process dies, at most the row that is being written is lost.

    Args:
        path: the file.
        steps: environment steps of the checkpoint that the run goes on from; later rows are
            dropped, since they are about to be made again.
    """

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.last_step = path, steps
        keys, rows = read_progress(path) if steps else ([], [])
        self._rewrite(keys, [row for row in rows if float(row[STEPS]) <= steps])

    def _rewrite(self, keys: list[str], rows: list[dict[str, str]]) -> None:
        self.keys = keys
        with whole_file(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, keys, lineterminator="\n")
            if keys:
                writer.writeheader()
            writer.writerows(rows)
        self.file = appended(self.path)

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Appends one row."""
        row = filter_excluded_keys(key_values, key_excluded, "csv")
        if new := sorted(row.keys() - self.keys):
            self.close()
            self._rewrite([*self.keys, *new], read_progress(self.path)[1])
        csv.DictWriter(self.file, self.keys, lineterminator="\n").writerow(row)
        self.file.flush()
        self.last_step = step

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


class ResumableTensorBoard(TensorBoardOutputFormat):
    """SB3's TensorBoard writer, which hides what an interrupted run had written after `steps`."""

    def __init__(self, folder: Path, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # of the extra `tensorboard`

        self.writer = SummaryWriter(str(folder), purge_step=steps + 1)
        self._is_closed = False
