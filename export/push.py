"""`spikepropamine push`: a run to the Hugging Face Hub, with a card made from its evaluation."""

from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser, add_import, import_modules, run_command
from spikepropamine.export import hub
from spikepropamine.folder import RunFolder


def main(arguments: Sequence[str], program: str = "spikepropamine push") -> int:
    """Runs the command line; returns its exit code.

    Args:
        arguments: after the command's name.
        program: the command's name, as it was typed.
    """
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

    def push() -> int:
        import_modules(options.imports)
        print(
            hub.push(
                RunFolder(options.run), options.repository, options.evaluation, options.private
            )
        )
        return 0

    return run_command(program, push, "interrupted")
