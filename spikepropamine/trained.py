"""The trained policies of the checkout, by name."""

from pathlib import Path

from spikepropamine.common import UsageError, did_you_mean
from spikepropamine.folder import RunFolder

HERE = Path(__file__).parent
TRAINED = (HERE if (HERE / "envs").is_dir() else HERE.parent) / "trained"
"""The trained policies of the checkout, or those few that the installed package brings."""


def trained_runs() -> list[Path]:
    """Run folders in trained/."""
    return sorted(file.parents[1] for file in TRAINED.rglob("policy.json"))


def name_of(folder: Path) -> str:
    """By which `find` finds it: without what all in trained/ have in common."""
    whole = folder.resolve()
    return (whole.relative_to(TRAINED) if whole.is_relative_to(TRAINED) else folder).as_posix()


def find(name: str | Path) -> Path:
    """The folder of this path, or the first run in trained/ whose path has these parts.

    Raises:
        UsageError: there is none; the message has the nearest one.
    """
    if Path(name).exists():
        return _run_folder(Path(name))
    wanted = f"/{str(name).strip('/')}/"
    for folder in trained_runs():
        if wanted in f"/{name_of(folder)}/":
            return folder
    known = [name_of(folder.parent) for folder in trained_runs()]
    known += [name.partition("/")[2] for name in known]  # which are enough
    nearest = did_you_mean(str(name), sorted(set(known)))
    raise UsageError(
        f"{str(name)!r} is neither a run folder nor in trained/; {nearest}"
        "`spikepropamine list trained` lists them"
    )


def named(name: str | Path) -> Path:
    """As `find`, relative to the working folder if it is below it, so that a configuration that
    names it is of no particular machine.
    """
    folder = find(name)
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _run_folder(path: Path) -> Path:
    """The path itself. Raises UsageError where it is near a run folder, and none."""
    if not RunFolder(path).policy.is_dir():
        if (path / "policy.json").is_file():
            raise UsageError(f"{path} is the policy of a run; name the run's folder, {path.parent}")
        below = min(path.rglob("policy/policy.json"), default=None)
        if below is not None:
            raise UsageError(f"{path} is no run folder; below it is {below.parent.parent}")
    return path
