"""`spikepropamine push` and `pull`: runs on the Hugging Face Hub. What is pulled is treated as a
stranger's.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikepropamine.common import Parser, UsageError, reason, require
from spikepropamine.folder import RunFolder
from spikepropamine.own_modules import add_import, import_modules
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import read_json
from spikepropamine.report.card import card_of, latest_evaluation, lines_evaluated
from spikepropamine.trained import find
from spikepropamine.versions import digest_of

MANIFEST = "spikepropamine.json"
CARD = RunFolder(Path()).card.name
POLICY = ("policy/policy.json", "policy/weights.safetensors", "policy/normalisation.safetensors")
"""The files of a policy; the last one is there for normalised observations only."""
LARGEST = 1_000_000_000  # bytes of a file that is pulled
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def main(arguments: Sequence[str], program: str) -> int:
    """Runs the command line of `push` or `pull`, which the program's name ends with; returns its
    exit code.
    """
    pushes = program.endswith("push")
    what = "A run to" if pushes else "A policy from"
    parser = Parser(program, description=f"{what} the Hugging Face Hub.", allow_abbrev=False)
    if pushes:
        parser.add_argument("run", metavar="RUN|NAME", help="folder of a run, or one in trained/")
    parser.add_argument("repository", metavar="OWNER/NAME")
    if pushes:
        parser.add_argument(
            "--evaluation", type=Path, metavar="FOLDER", help="for its card (the latest in RUN)"
        )
        parser.add_argument("--private", action="store_true", help="where the repository is new")
    else:
        parser.add_argument("--revision", help="branch, tag or commit (the latest)")
        parser.add_argument(
            "--out", type=Path, metavar="FOLDER", help="the new run folder (pulled/OWNER/NAME)"
        )
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    if pushes:
        run = RunFolder(find(options.run))
        print(push(run, options.repository, options.evaluation, options.private))
    else:
        folder = options.out or Path("pulled") / options.repository
        pull(options.repository, options.revision, folder)
        print(f"the policy is in {folder}; watch it: spikepropamine enjoy {folder}")
    return 0


def push(run: RunFolder, repository: str, evaluation: Path | None, private: bool) -> str:
    """Uploads a policy with its card, settings, learning curve, evaluation and videos.

    Checkpoints, which only resuming needs, and tracking stay here.

    Args:
        run: the run folder.
        repository: OWNER/NAME; made if it is missing.
        evaluation: folder of an evaluation of this run; None: the latest in the run folder.
        private: whether a new repository is private.

    Returns:
        Its address.

    Raises:
        UsageError: nothing to push, no evaluation of it, or the service refuses.
    """
    _check_repository(repository)
    try:
        load_policy(run.policy)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    evaluation = evaluation or latest_evaluation(run)
    taken = [run.path / name for name in POLICY]
    taken += [run.policy, run.config, run.progress, run.evaluations]
    taken += [evaluation, *evaluation.rglob("*")]
    for path in taken:
        if path.is_symlink():  # the run may be a stranger's, and lead to what is nobody's business
            raise UsageError(f"{path} is a link, and what it leads to is not pushed: remove it")
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary)
        (staged / "policy").mkdir()
        for file in (*(run.path / name for name in POLICY), run.config, run.progress):
            if file.is_file():
                shutil.copyfile(file, staged / file.relative_to(run.path))
        shutil.copytree(
            evaluation,
            staged / "evaluation",
            ignore=shutil.ignore_patterns("cache", "wandb", "*.part"),
        )
        lines = lines_evaluated(run, evaluation)
        card = card_of(run, lines, f"pulled/{repository}", repository)
        RunFolder(staged).card.write_text(card, encoding="utf-8")
        named = [name for name in (*POLICY, CARD) if (staged / name).is_file()]
        digests = {name: digest_of([staged / name]) for name in named}
        (staged / MANIFEST).write_text(json.dumps({"format": 1, "sha256": digests}, indent=2))
        with _service() as api:
            api.create_repo(repository, repo_type="model", exist_ok=True, private=private)
            api.upload_folder(
                repo_id=repository,
                folder_path=staged,
                commit_message="A policy, its card and its evaluation",
                delete_patterns=["policy/*", "evaluation/*"],
            )
            return f"{api.endpoint}/{repository}"


def pull(repository: str, revision: str | None, out: Path) -> None:
    """Downloads a policy and its card, as those of a stranger: nothing else is taken, no code of
    anyone is run, and nothing is written outside `out`, which must not be there yet.

    The digests that were pushed along are compared, which finds damage and edited files. They
    vouch for nobody: who can write to the repository can write them, too.

    Args:
        repository: OWNER/NAME.
        revision: branch, tag or commit; None: the latest.
        out: the new run folder.

    Raises:
        UsageError: there is no such policy, or it is not what it should be.
    """
    _check_repository(repository)
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already; give another --out")
    # in the file system of `out`, so that it gets there by its name alone: whole or not at all
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(dir=there, prefix=".") as temporary:
        fetched, staged = Path(temporary) / "fetched", Path(temporary) / "staged"
        with _service() as api:
            sizes = {
                entry.path: entry.size
                for entry in api.list_repo_tree(repository, recursive=True, revision=revision)
                if hasattr(entry, "size")
            }
            wanted = [name for name in (MANIFEST, CARD, *POLICY) if name in sizes]
            for name in wanted:
                if sizes[name] > LARGEST:
                    raise UsageError(f"{repository}: {name} has {sizes[name]:,} bytes, too many")
                api.hf_hub_download(repository, name, revision=revision, local_dir=fetched)
        for name in wanted:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fetched / name, staged / name)
        _check(staged, repository)
        out.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(out)


def _check(folder: Path, repository: str) -> None:
    """Raises UsageError unless the folder holds a whole policy that is what its manifest says."""
    try:
        manifest = read_json(folder / MANIFEST, inside=folder)
        digests = dict(manifest["sha256"]) if manifest["format"] == 1 else {}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{repository} has no {MANIFEST} that can be read: it was not pushed by "
            "`spikepropamine push`"
        ) from error
    there = {name for name in (*POLICY, CARD) if (folder / name).is_file()}
    if set(digests) != there:
        different = ", ".join(sorted(set(digests) ^ there))
        raise UsageError(f"{repository}: {MANIFEST} and the files do not agree on {different}")
    for name, digest in digests.items():
        if digest_of([folder / name]) != digest:
            raise UsageError(f"{repository}: {name} is not the file that was pushed")
    try:
        settings: Any = load_policy(RunFolder(folder).policy).metadata["settings"]
        names = {name: str(settings[name]) for name in ("env", "policy")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{repository}: the policy is damaged: {error}") from error
    for what, name in names.items():
        # these become parts of paths when it is evaluated
        if not NAME.fullmatch(name) or ".." in name:
            raise UsageError(f"{repository}: {what} is called {name!r}, which no {what} is")


def _check_repository(repository: str) -> None:
    if not NAME.fullmatch(repository) or repository.count("/") != 1 or ".." in repository:
        raise UsageError(f"a repository is given as OWNER/NAME, not {repository!r}")


@contextmanager
def _service() -> Iterator[Any]:
    """The Hub's client. What it, or the network, refuses becomes one line."""
    require("huggingface_hub", "hub", "the Hugging Face Hub")
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        yield api
    except UsageError:
        raise
    except Exception as error:  # of many kinds: of the client, of HTTP, of the file system
        raise UsageError(f"{api.endpoint}: {reason(error)}") from error
