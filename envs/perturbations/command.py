"""`spikepropamine verify`: shows for every task and perturbation that it does what it says."""

from collections.abc import Sequence

from spikepropamine.common import Parser, UsageError, unknown
from spikepropamine.envs.making import check_env_id, split_env
from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.envs.perturbations.verify import TASKS
from spikepropamine.envs.perturbations.verify import main as verify
from spikepropamine.own_modules import add_import, import_modules, unless_imported


def main(arguments: Sequence[str], program: str = "spikepropamine verify") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--env", nargs="+", default=list(TASKS), help="Gymnasium ids, or MODULE:ID (all)"
    )
    parser.add_argument("--only", nargs="+", default=[], help="names of perturbations (all)")
    add_import(parser)
    options = parser.parse_args(arguments)
    split = [split_env(task) for task in options.env]
    modules = [*options.imports, *(module for _, of in split for module in of)]
    import_modules(modules)
    for name in options.only:
        if name not in CATALOGUE:
            raise UsageError(unknown("perturbation", name, CATALOGUE) + unless_imported())
    for task, _ in split:
        check_env_id(task, modules)
    return verify([task for task, _ in split], options.only)
