"""What training and evaluation share of Weights & Biases: the account, and how a run is started."""

import os
from pathlib import Path
from typing import Any, Literal

from spikepropamine.common import UsageError

# wandb is imported in functions alone: with `--track off`, the default, nothing of it is loaded

Mode = Literal["off", "offline", "online"]
On = Literal["offline", "online"]

PROJECT = "spikepropamine"
"""Where runs go, unless the environment variable WANDB_PROJECT names another project."""


def check_credentials(mode: Mode) -> None:
    """Before any work is done: asks the server whether the account works, if there is to be one.

    Raises:
        UsageError: online, and there are no credentials, or the server does not take them.
    """
    if mode != "online":
        return
    import wandb

    wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    try:
        found = wandb.login(prompt=False, verify=True)
    except wandb.Error as error:
        raise UsageError(
            f"--track online: {one_line(error)} (--track offline needs none)"
        ) from error
    if not found:
        raise UsageError(
            "--track online needs an account: run `wandb login` or set WANDB_API_KEY; "
            "or take --track offline, which needs none and can be uploaded later"
        )


def one_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop; its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def start(mode: On, folder: Path, axes: dict[str, str], **arguments: Any) -> Any:
    """Starts a wandb run whose files, artifacts included, lie in `folder/wandb`.

    Args:
        mode: where it goes.
        folder: must exist.
        axes: over which metric others are drawn: names, a `*` at the end stands for any, to axis.
        arguments: for `wandb.init`: name, group, job_type, config, id and so on.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").absolute())  # not somewhere in the home
    if mode == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # offline is offline
    os.environ["WANDB_DISABLE_WEAVE"] = "true"  # it takes our package `agents` for OpenAI's
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(mode=mode, silent=mode == "offline"))
        run = wandb.init(
            mode=mode,
            dir=folder,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            # standard output belongs to the progress bar
            settings=wandb.Settings(console="off"),
            **arguments,
        )
    except wandb.Error as error:
        raise UsageError(f"--track {mode}: {one_line(error)}") from error
    for axis in dict.fromkeys(axes.values()):
        run.define_metric(axis, hidden=True)
    for names, axis in axes.items():
        run.define_metric(names, step_metric=axis)
    return run
