"""Training and stepping beside Stable-Baselines3, sb3-contrib, SBX, skrl, TorchRL and
EnvPool: CPU microseconds a step, one thread.

python -m benchmarks.frameworks [--kinds ppo recurrent sac stepping] [--rounds N]
    [--environments FOLDER] [--csv FILE]

Each library is installed into an environment of its own, from
`benchmarks/requirements-LIBRARY.txt`, where the folder has none yet; what cannot be
installed is left out, with a sentence. Scripts in `benchmarks/drivers/` train with the
library's own trainer, on HalfCheetah-v5, with the settings of `drivers/equal.py`. All
drivers of a kind are started and warmed up; then they take turns, a round each.
Reported are medians over rounds: `times_sb3` is the median of ratios within a round.
Stepping is that of `benchmarks.physics`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import spikepropamine as sp
from benchmarks import physics
from benchmarks.drivers.equal import ROUND, TASK
from benchmarks.environments import last_line, one_thread, python_with
from benchmarks.rows import Rows, run
from spikepropamine.common import UsageError, check_known

DRIVERS = Path(__file__).parent / "drivers"
MARK = "pace: "  # as in drivers/pace.py, which other environments import
SECONDS_TO_END = 30


@dataclass(frozen=True)
class Learner:
    """What trains in a process of its own."""

    policy: str
    """As rows name it."""
    library: str
    """As tables name it."""
    peer: str
    """Whose environment; empty: the one in which this benchmark runs."""
    command: tuple[str, ...]
    """A driver and its arguments, but for the kind of training."""
    setting: str = "equal"

    def arguments(self, kind: str) -> list[str]:
        """The driver and all its arguments."""
        driver, *given = self.command
        return [str(DRIVERS / driver), *given, kind]


OURS = "spikepropamine"


def _ours(policy: str, setting: str = "equal", *more: str) -> Learner:
    return Learner(policy, OURS, "", ("ours.py", policy, *more), setting)


def _like_sb3(policy: str, library: str, peer: str, module: str) -> Learner:
    return Learner(policy, library, peer, ("with_sb3.py", module))


SB3 = _like_sb3("sb3", "Stable-Baselines3", "sb3", "stable_baselines3")
SBX = _like_sb3("sbx", "SBX", "sbx", "sbx")
SKRL = Learner("skrl", "skrl", "skrl", ("with_skrl.py",))
TORCHRL = Learner("torchrl", "TorchRL", "torchrl", ("with_torchrl.py",))
LEARNERS = {
    "ppo": [SB3, SBX, SKRL, TORCHRL, *map(_ours, ("mlp", "snn", "ndp-oja"))],
    "recurrent": [
        _like_sb3("sb3-contrib", "sb3-contrib", "sb3", "sb3_contrib"),
        SKRL,
        _ours("lstm"),
        _ours("lstm", "sequences of 8 steps", "8"),
    ],
    "sac": [SB3, SBX, SKRL, TORCHRL, _ours("mlp")],
}
"""By kind of training; ratios are to the first."""
STEPPING = {
    "mj_step": "MuJoCo",
    "make_gymnasium_vec": OURS,
    "make_vec": OURS,
    "gymnasium": "Gymnasium",
    "envpool": "EnvPool",
}
"""Libraries by the ways of `benchmarks.physics`."""


class Driver:
    """A training in a process, which waits until it may go on.

    Args:
        learner: what trains.
        kind: of training.
        python: that has the library.

    Raises:
        UsageError: it ended before its first round.
    """

    def __init__(self, learner: Learner, kind: str, python: Path | str) -> None:
        self.learner = learner
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), *learner.arguments(kind)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=one_thread(own=not learner.peer),
        )
        self.version: str = self._report()["version"]

    def round(self) -> float:
        """CPU seconds of a round. Raises UsageError: the training ended."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._report()["seconds"]

    def _report(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        self._errors.seek(0)
        reason = last_line(self._errors.read())
        raise UsageError(f"{self.learner.policy}: its training ended: {reason}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def measure(rows: Rows, options: Namespace) -> None:
    """Adds every kind, of the libraries that can be installed."""
    for kind in options.kinds:
        check_known("kind", kind, (*LEARNERS, "stepping"))
    for kind in options.kinds:
        if kind == "stepping":
            _measure_stepping(rows, options)
        else:
            _measure_training(rows, kind, options)


def _measure_training(rows: Rows, kind: str, options: Namespace) -> None:
    drivers: list[Driver] = []
    try:
        for learner in LEARNERS[kind]:
            driver = _started(learner, kind, Path(options.environments))
            if driver is not None:
                drivers.append(driver)
        rounds = [
            {driver: driver.round() for driver in drivers}
            for _ in range(options.rounds)
        ]
    finally:
        for driver in drivers:
            driver.close()
    if not drivers or drivers[0].learner != LEARNERS[kind][0]:
        raise UsageError(f"{kind}: there is no {LEARNERS[kind][0].library} to compare")
    first = drivers[0]
    for driver in drivers:
        seconds = statistics.median(taken[driver] for taken in rounds) / ROUND[kind]
        times = statistics.median(taken[first] / taken[driver] for taken in rounds)
        rows.add(
            {
                "microseconds": round(1e6 * seconds, 1),
                "steps_per_second": round(1 / seconds, 1),
                "times_sb3": round(times, 3),
            },
            environment=TASK,
            setting=driver.learner.setting,
            suite=kind,
            policy=driver.learner.policy,
            condition=f"{driver.learner.library} {driver.version}",
        )


def _started(learner: Learner, kind: str, environments: Path) -> Driver | None:
    """The training of a library; None, and a sentence, where it is not to be had."""
    try:
        python: Path | str = sys.executable
        if learner.peer:
            python = python_with(learner.peer, environments)
        return Driver(learner, kind, python)
    except UsageError as error:
        print(f"left out: {error}", flush=True)
        return None


def _measure_stepping(rows: Rows, options: Namespace) -> None:
    """Adds the ways of `benchmarks.physics` on the same task."""
    python = ""
    versions = {
        "mj_step": version("mujoco"),
        "gymnasium": version("gymnasium"),
        "make_vec": sp.__version__,
        "make_gymnasium_vec": sp.__version__,
    }
    try:
        python = str(python_with("envpool", Path(options.environments)))
        ask = "from importlib.metadata import version; print(version('envpool'))"
        versions["envpool"] = subprocess.check_output(
            [python, "-c", ask], text=True
        ).strip()
    except UsageError as error:
        print(f"left out: {error}", flush=True)
    before = len(rows.rows)
    physics.measure(
        rows,
        Namespace(envs=[TASK], counts=[8, 64], rounds=15, threads=1, envpool=python),
    )
    for row in rows.rows[before:]:
        way = str(row["policy"])
        row["suite"] = "stepping"
        row["condition"] = f"{STEPPING[way]} {versions[way]}"


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        kinds=[*LEARNERS, "stepping"],
        rounds=3,
        environments="build/peers",
    )
