"""The command line: `spikepropamine COMMAND ...`, or `python -m spikepropamine COMMAND
...`.
"""

import importlib
import sys
from collections.abc import Sequence

from spikepropamine import __version__
from spikepropamine.common import UsageError, run_command, unknown
from spikepropamine.versions import versions

# each module has a `main(arguments, program)` that returns the exit code; PyTorch and
# the rest are imported with the one that is asked for
COMMANDS = {
    "train": ("training.run", "train a policy"),
    "tune": ("training.tune", "find settings of a policy"),
    "evaluate": ("report.evaluate", "evaluate trained policies"),
    "matrix": (
        "matrix.command",
        "train and evaluate environments x policies x seeds x settings",
    ),
    "claims": ("report.pages", "tables and figures of README and docs, out of results"),
    "enjoy": (
        "export.enjoy",
        "watch a policy, live where there is a display, else as a video",
    ),
    "play": (
        "export.play",
        "pull the plug of a policy's plasticity, in a browser",
    ),
    "export": ("export.command", "a policy as a file: ONNX or NIR"),
    "push": ("report.push", "a policy to the Hugging Face Hub"),
    "cards": ("report.card", "cards of runs, from their evaluations"),
    "verify": (
        "envs.perturbations.verify",
        "prove that perturbations do what they say",
    ),
    "dashboards": (
        "report.dashboards",
        "a page over many runs, or a workspace in wandb",
    ),
    "list": (
        "listing",
        "envs, policies, rules, suites, perturbations, matrices, trained",
    ),
}
LISTED = "\n".join(f"  {name:11} {summary}" for name, (_, summary) in COMMANDS.items())
USAGE = f"""usage: spikepropamine COMMAND ...

{LISTED}

`spikepropamine COMMAND --help` says more; `--verbose` shows where an error came from.
""".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    named = [name for name in arguments[:1] if name in COMMANDS]
    program = " ".join(["spikepropamine", *named])
    return run_command(program, lambda: _run(arguments, program), "interrupted")


def script(command: str) -> int:
    """Runs a command as a script of its own, `COMMAND.py`; returns its exit code."""
    program = f"{command}.py"
    return run_command(
        program, lambda: _run([command, *sys.argv[1:]], program), "interrupted"
    )


def _run(arguments: Sequence[str], program: str) -> int:
    if not arguments:
        raise UsageError(f"a command is missing: {', '.join(COMMANDS)}")
    name, *others = arguments
    if name in COMMANDS:
        return importlib.import_module(f"spikepropamine.{COMMANDS[name][0]}").main(
            others, program
        )
    if name not in ("-h", "--help", "--version"):
        raise UsageError(unknown("command", name, COMMANDS))
    if name == "--version":
        print(f"spikepropamine {__version__} ({versions()['revision']})")
    else:
        print(USAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
