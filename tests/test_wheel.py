"""The commands of the first hour, from an installed wheel, in an empty folder."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST_HOUR = ROOT / "docs" / "tutorials" / "first-hour.md"
SHORT = {
    "train": "--steps 2048 --console none",
    "evaluate": "--episodes 2 --overwrite",
}
"""Options that keep commands of a kind short; of an option that is given twice the
later one counts.
"""


def run(*command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what is in the wheel of the files that git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if not (ROOT / name).exists():
            continue  # deleted, and not committed yet
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            copy.symlink_to(os.readlink(ROOT / name))
        else:
            copy.write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta; build_meta.build_wheel('../built')"
    run(sys.executable, "-c", build, cwd=source)
    (wheel,) = (folder / "built").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")  # all that an installation does
    return folder / "installed"


def first_hour():
    """Commands of the first hour that end by themselves, in order."""
    text = FIRST_HOUR.read_text()
    commands = []
    for line in re.findall("^spikepropamine .*", text, re.MULTILINE):
        command = line.partition("#")[0].strip()
        name = command.split()[1]
        if name == "enjoy" or "--live" in command:
            continue  # until somebody ends it
        commands.append(f"{command} {SHORT.get(name, '')}")
    return commands


@pytest.mark.slow
def test_the_first_hour_from_a_wheel(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHON": sys.executable}
    where = run(
        sys.executable,
        "-c",
        "import spikepropamine; print(spikepropamine.__file__)",
        cwd=tmp_path,
        env=environment,
    )
    assert Path(where.strip()).is_relative_to(installed)

    commands = first_hour()
    assert len(commands) >= 7
    define = 'spikepropamine() { "$PYTHON" -m spikepropamine "$@"; }'
    for command in commands:
        script = f"{define}\n{command}"
        run("bash", "-c", script, cwd=tmp_path, env=environment)
    assert list(tmp_path.glob("runs/*/*/seed-0/policy"))
    assert not list(installed.rglob("results.csv"))  # nothing is written there
