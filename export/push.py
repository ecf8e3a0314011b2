"""`spikepropamine push`: a run to the Hugging Face Hub, with a card made from its evaluation."""

from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser
from spikepropamine.export import hub
from spikepropamine.folder import RunFolder
from spikepropamine.own_modules import add_import, import_modules


def main(arguments: Sequence[str], program: str = "spikepropamine push") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("repository", metavar="OWNER/NAME", help="made if it is missing")
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FOLDER",
        help="that the card is made from (the latest one in RUN/evaluations)",
    )
    parser.add_argument("--private", action="store_true", help="make a private repository")
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    run = RunFolder(options.run)
    print(hub.push(run, options.repository, options.evaluation, options.private))
    return 0
