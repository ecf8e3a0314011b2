"""What training and evaluation share of Weights & Biases: the account, and how a run is
started.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from spikepropamine.common import UsageError, reason, require
from spikepropamine.folder import RunFolder
from spikepropamine.reading import read_json

# wandb is imported in functions alone: with `--track off`, the default, nothing of it
# is loaded

Mode = Literal["off", "offline", "online"]
On = Literal["offline", "online"]

PROJECT = "spikepropamine"
"""Where runs go, unless the environment variable WANDB_PROJECT names another project.
"""


def check_credentials(
    mode: Mode,
    what: str = "--track online",
    instead: str = "--track offline needs none, and can be uploaded later",
) -> None:
    """Before any work is done: checks that wandb is installed, and asks the server
    whether the account works, if there is to be one.

    Args:
        mode: of tracking.
        what: needs the account, for the message.
        instead: what needs none, for the message.

    Raises:
        UsageError: wandb is missing; or it is online, and there are no credentials, or
            the server does not take them.
    """
    if mode == "off":
        return
    require("wandb", "wandb", what if mode == "online" else f"--track {mode}")
    if mode != "online":
        return
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(mode="online", silent=True))
        logged_in = wandb.login(prompt=False, verify=True)
    except wandb.Error as error:
        raise UsageError(f"{what}: {reason(error)}; {instead}") from error
    if not logged_in:
        raise UsageError(
            f"{what} needs an account: run `wandb login` or set WANDB_API_KEY; "
            f"{instead}"
        )


def start(mode: On, folder: Path, tags: Sequence[str], **arguments: Any) -> Any:
    """Starts a wandb run, with the entity, the project and the further tags of
    WANDB_ENTITY, WANDB_PROJECT and WANDB_TAGS (with commas).

    Args:
        mode: where the run goes.
        folder: that exists; files, artifacts included, lie in `folder/wandb`.
        tags: what kind of run it is.
        arguments: for `wandb.init`.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    # not somewhere in the home
    os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").absolute())
    if mode == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # offline is offline
    # it takes our package `agents` for OpenAI's
    os.environ["WANDB_DISABLE_WEAVE"] = "true"
    import wandb

    more = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    try:
        wandb.setup(settings=wandb.Settings(mode=mode, silent=mode == "offline"))
        return wandb.init(
            mode=mode,
            dir=folder,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            entity=os.environ.get("WANDB_ENTITY"),
            tags=list(dict.fromkeys(filter(None, [*tags, *more]))),
            # standard output belongs to the progress bar
            settings=wandb.Settings(console="off"),
            **arguments,
        )
    except wandb.Error as error:
        raise UsageError(f"--track {mode}: {reason(error)}") from error


def policy_artifact(folder: RunFolder) -> Any:
    """A run's settings and policy as a wandb artifact: what training gives out is what
    an evaluation takes in, since the same files make the same version of it.
    """
    import wandb

    metadata = read_json(folder.policy / "policy.json", inside=folder.path)["metadata"]
    settings = metadata["settings"]
    # artifacts may not have a slash in their name, tasks may
    name = f"{settings['env']}-{settings['policy']}-seed-{settings['seed']}".replace(
        "/", "-"
    )
    artifact = wandb.Artifact(name, type="model", metadata=metadata)
    if folder.config.is_file():
        artifact.add_file(str(folder.config))
    artifact.add_dir(str(folder.policy), name=folder.policy.name)
    return artifact


def say_how_to_upload(mode: On, folder: Path) -> None:
    """Prints how to upload an offline run that has ended.

    Args:
        mode: of tracking; nothing is printed unless it is "offline".
        folder: of the run, with the files in `wandb/`.
    """
    if mode == "offline":
        runs = shlex.quote(f"{folder}/wandb")
        print(f"tracked offline; upload with: wandb sync {runs}/offline-run-*")


def use(run: Any, artifact: Any, mode: On) -> None:
    """Notes that a run takes an artifact in.

    Args:
        run: of Weights & Biases.
        artifact: of Weights & Biases.
        mode: of tracking.
    """
    if mode == "online":
        run.use_artifact(artifact)
    else:
        # what `use_artifact` does with a new one, which it refuses offline though that
        # works
        run._log_artifact(
            artifact, aliases=[], is_user_created=True, use_after_commit=True
        )
