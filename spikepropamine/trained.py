"""The trained policies of the checkout, by name."""

from pathlib import Path

from spikepropamine.common import UsageError, did_you_mean
from spikepropamine.folder import RunFolder

HERE = Path(__file__).parent
TRAINED = (HERE if (HERE / "envs").is_dir() else HERE.parent) / "trained"
"""The trained policies of the checkout, or those few that the installed package brings."""
DESCRIPTION = "policy.json"  # in the folder of a policy


def trained_runs() -> list[Path]:
    """Run folders in trained/."""
    return sorted(file.parents[1] for file in TRAINED.rglob(DESCRIPTION))


def name_of(folder: Path) -> str:
    """By which `find` finds it: without what all in trained/ have in common."""
    whole = folder.resolve()
    return (whole.relative_to(TRAINED) if whole.is_relative_to(TRAINED) else folder).as_posix()


def find(name: str | Path) -> Path:
    """The run folder of this path, which may be that of its policy, or the first run in trained/
    whose path has these parts.

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


def policy_folder(name: str | Path) -> Path:
    """The policy of what `find` finds; or the policy in this folder, which need be of no run."""
    alone = (Path(name) / DESCRIPTION).is_file()
    return Path(name) if alone else RunFolder(find(name)).policy


def named(name: str | Path) -> Path:
    """As `find`, relative to the working folder if it is below it, so that a configuration that
    names it is of no particular machine.
    """
    folder = find(name)
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _run_folder(path: Path) -> Path:
    """The run folder of a path. Raises UsageError where it is near one, and none."""
    if (path / DESCRIPTION).is_file():
        if path != RunFolder(path.parent).policy:
            raise UsageError(f"{path} is a policy without its run, whose folder has to be given")
        return path.parent
    if not RunFolder(path).policy.is_dir():
        below = min(path.rglob(f"policy/{DESCRIPTION}"), default=None)
        if below is not None:
            raise UsageError(f"{path} is no run folder; below it is {below.parent.parent}")
    return path
