"""`spikepropamine cards`: writes the card of each run, README.md, out of an evaluation of it; that
of a run in trained/ out of the results of its matrix.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser, write_text
from spikepropamine.folder import RunFolder
from spikepropamine.own_modules import add_import, import_modules
from spikepropamine.reading import read_text
from spikepropamine.report.card import card_of, latest_evaluation, lines_evaluated, lines_on_file
from spikepropamine.trained import TRAINED, find, name_of, trained_runs


def main(arguments: Sequence[str], program: str = "spikepropamine cards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN|NAME",
        help="folder of a run, or one in trained/ (all)",
    )
    parser.add_argument(
        "--evaluation", type=Path, metavar="FOLDER", help="(the latest in the run folder)"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; 1 where one differs")
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    wrong = 0
    for path in map(find, options.runs) if options.runs else trained_runs():
        run = RunFolder(path)
        kept = path.resolve().is_relative_to(TRAINED) and not run.evaluations.is_dir()
        if kept and options.evaluation is None:
            lines = lines_on_file(path)
        else:
            lines = lines_evaluated(run, options.evaluation or latest_evaluation(run))
        card = card_of(run, lines, name_of(path))
        if run.card.is_file() and read_text(run.card) == card:
            continue
        if options.check:
            print(f"{run.card} is not up to date; run `spikepropamine cards`", file=sys.stderr)
            wrong = 1
        else:
            write_text(run.card, card)
            print(run.card)
    return wrong
