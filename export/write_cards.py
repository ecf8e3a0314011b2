"""`spikepropamine cards`: writes the card of each run, README.md, from an evaluation of it."""

from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser, write_text
from spikepropamine.folder import RunFolder
from spikepropamine.own_modules import add_import, import_modules
from spikepropamine.report.card import card_of, latest_evaluation
from spikepropamine.trained import find, name_of


def main(arguments: Sequence[str], program: str = "spikepropamine cards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN|NAME", help="folder of a run, or one in trained/"
    )
    parser.add_argument(
        "--evaluation", type=Path, metavar="FOLDER", help="(the latest in the run folder)"
    )
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    for name in options.runs:
        run = RunFolder(find(name))
        evaluation = options.evaluation or latest_evaluation(run)
        write_text(run.card, card_of(run, evaluation, name_of(run.path)))
        print(run.card)
    return 0
