"""`spikepropamine push RUN OWNER/NAME`: uploads a policy, its settings and its card to
the Hugging Face Hub, from where `load("hf:OWNER/NAME")` gets it.

It needs an account: `hf auth login`, or a token in HF_TOKEN.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from spikepropamine import hub
from spikepropamine.common import Parser, UsageError, bad_input
from spikepropamine.folder import TRAINED, RunFolder, find
from spikepropamine.policies.export import load_policy
from spikepropamine.report.card import (
    card_of,
    latest_evaluation,
    lines_evaluated,
    lines_on_file,
)
from spikepropamine.versions import add_import, import_modules


def main(arguments: Sequence[str], program: str = "spikepropamine push") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("run", metavar="RUN|NAME", help="folder of a run, or a name in trained/")
    add("repository", metavar="OWNER/NAME[@BRANCH]", help="made where it is missing")
    add("--private", action="store_true", help="for you alone, if it is made")
    add_import(parser)
    options = parser.parse_args(arguments)
    address = hub.Address.of(f"{hub.PREFIX}{options.repository}")
    import_modules(options.imports)
    run = RunFolder(find(options.run))
    run.check_links()
    with bad_input("", FileNotFoundError):
        load_policy(run.policy)  # which compares its digests
    newest = hub.Address(address.repository)
    card = card_of(run, _lines(run), str(newest))
    commit = hub.upload(run.path, card, address, options.private)
    print(f"pushed; load it with: spikepropamine.load('{newest}@{commit}')")
    return 0


def _lines(run: RunFolder) -> pl.DataFrame:
    """Results of a run, for its card; empty where it was not evaluated."""
    if Path(run.path).resolve().is_relative_to(TRAINED):
        return lines_on_file(run.path)
    try:
        evaluation = latest_evaluation(run)
    except UsageError:
        return pl.DataFrame()
    return lines_evaluated(run, evaluation)
