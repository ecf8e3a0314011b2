"""Where the rows of SB3's logger go: the console, progress.csv and TensorBoard."""

import sys
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import CSVOutputFormat, TensorBoardOutputFormat
from tqdm import tqdm


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
        from torch.utils.tensorboard import SummaryWriter  # of the extra `tensorboard`

        self.writer = SummaryWriter(str(folder), purge_step=steps + 1)
        self._is_closed = False
