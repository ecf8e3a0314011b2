"""How much memory something needs at its peak, in this process (Linux)."""

from collections.abc import Callable
from pathlib import Path


def peak_of(function: Callable[[], object]) -> float:
    """MiB by which the peak of the resident memory, while it runs, lies above what was there."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(name))
    return int(found.split()[1]) / 1024
