"""All families of perturbations, by name."""

from spikepropamine.envs.perturbations import body, signals, task, world
from spikepropamine.envs.perturbations.family import Family

CATALOGUE: dict[str, Family] = {
    family.name: family for module in (signals, body, world, task) for family in module.FAMILIES
}


def register(family: Family) -> None:
    """Adds a family of your own, so that texts may name it and `verify` proves it.

    Raises:
        ValueError: a name that cannot be written in a text, or that is taken.
    """
    if not family.name.isidentifier():
        raise ValueError(
            f"a perturbation's name has letters, digits and underscores only, not {family.name!r}"
        )
    if CATALOGUE.get(family.name, family) is not family:
        raise ValueError(f"there is a perturbation {family.name} already; take another name")
    CATALOGUE[family.name] = family
