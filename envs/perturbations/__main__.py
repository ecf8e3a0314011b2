"""`python -m spikepropamine.envs.perturbations`: list the perturbations, or verify them."""

import argparse
import sys

import gymnasium as gym

from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.envs.perturbations.family import nearest
from spikepropamine.envs.perturbations.verify import TASKS, main


def list_families() -> None:
    """Print the catalogue."""
    for family in CATALOGUE.values():
        low, high = family.bounds
        values = f"{low:g} to {high:g}, nominal {family.nominal:g} ({family.unit})"
        print(f"{family.group:8} {family.name:15} {family.summary}\n{'':25}{values}")


def run(arguments: list[str] | None = None) -> int:
    """The command line; the result is its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m spikepropamine.envs.perturbations", description=__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the catalogue")
    proof = commands.add_parser("verify", help="show that each does what it says")
    proof.add_argument("--env", nargs="+", default=list(TASKS), help="Gymnasium ids (all)")
    proof.add_argument("--only", nargs="+", default=[], help="names of perturbations (all)")
    options = parser.parse_args(arguments)
    if options.command == "list":
        list_families()
        return 0
    for name in options.only:
        if name not in CATALOGUE:
            parser.error(nearest(name, CATALOGUE, "perturbation"))
    for task in options.env:
        try:
            gym.spec(task)
        except gym.error.Error as error:
            parser.error(str(error))
    return main(options.env, options.only)


if __name__ == "__main__":
    sys.exit(run())
