"""`spikepropamine pull`: a policy from the Hugging Face Hub, treated as a stranger's."""

from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser, run_command
from spikepropamine.export import hub
from spikepropamine.own_modules import add_import, import_modules


def main(arguments: Sequence[str], program: str = "spikepropamine pull") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("repository", metavar="OWNER/NAME")
    parser.add_argument("--revision", help="branch, tag or commit (the latest)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the new run folder (pulled/OWNER/NAME)"
    )
    add_import(parser)
    options = parser.parse_args(arguments)

    def pull() -> int:
        import_modules(options.imports)
        out = options.out or Path("pulled") / options.repository
        folder = hub.pull(options.repository, options.revision, out)
        print(f"the policy is in {folder}; watch it: spikepropamine enjoy {folder}")
        return 0

    return run_command(program, pull, "interrupted; nothing was kept")
