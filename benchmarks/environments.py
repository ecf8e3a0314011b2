"""Environments of their own for other libraries, which `pip` installs."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from spikepropamine.common import UsageError

FOLDER = Path(__file__).parent
EQUAL = ("torch", "gymnasium", "mujoco", "numpy")
"""Packages of which every environment gets the version that is installed here."""


def python_with(peer: str, environments: Path) -> Path:
    """The Python of an environment that has another library, made where it is missing.

    Args:
        peer: as in the name of `benchmarks/requirements-PEER.txt`.
        environments: the folder of all environments.

    Raises:
        UsageError: pip could not install what the file names.
    """
    requirements = FOLDER / f"requirements-{peer}.txt"
    folder = environments.absolute() / peer
    python = folder / "bin" / "python"
    versions = [f"{name}=={version(name).split('+')[0]}\n" for name in EQUAL]
    wanted = requirements.read_text() + "".join(versions)
    installed = folder / "installed.txt"
    if installed.is_file() and installed.read_text() == wanted:
        return python
    print(f"{peer}: installing {requirements.name} into {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.writelines(versions)
        constraints.flush()
        pip = [python, "-m", "pip", "install", "--quiet", "-r", requirements]
        done = subprocess.run(
            [*pip, "-c", constraints.name], stderr=subprocess.PIPE, text=True
        )
    if done.returncode:
        raise UsageError(f"{peer}: pip installs nothing here: {last_line(done.stderr)}")
    installed.write_text(wanted)
    return python


def one_thread(own: bool) -> dict[str, str]:
    """The variables of a process that trains in one thread.

    Args:
        own: whether it is to see the modules that this process sees.
    """
    variables = os.environ | {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    if own:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    else:
        variables.pop("PYTHONPATH", None)
    return variables


def last_line(text: str) -> str:
    """The last line that is not empty, which is where Python says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
