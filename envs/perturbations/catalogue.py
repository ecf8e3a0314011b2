"""All families of perturbations, by name."""

from spikepropamine.envs.perturbations import acting, body, sensing, task, world
from spikepropamine.envs.perturbations.family import Family

CATALOGUE: dict[str, Family] = {
    family.name: family
    for module in (sensing, acting, body, world, task)
    for family in module.FAMILIES
}
