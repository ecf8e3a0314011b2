"""Rules of synaptic plasticity: what drives a fast weight, from what is known on its two sides.

A rule is one formula. Its arguments are named for what it needs:

    p, q      pre- and postsynaptic trace, in [0, 1]
    theta     sliding mean of q squared (BCM's threshold)
    f         the fast weight itself
    x, s      presynaptic activity (an input, or a spike) and postsynaptic spike of this tick
    y, pp     sums over the neuron's synapses: of f p, its own fast current, and of p squared
    v         current of a second compartment, from synapses of the neuron's own

Any other argument is a learned coefficient, one for each layer, or where it is annotated
`Synaptic`, one for each synapse; its default is the initial value. The formula uses plain
arithmetic only, so that numbers, tensors and symbols can be put into it. To add a rule, `register`
it, here or in a module of your own.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

VARIABLES = ("p", "q", "theta", "f", "x", "s", "y", "pp", "v")
OF_FAST_WEIGHTS = ("f", "y")  # zero where these are
Synaptic = Annotated[float, "of each synapse"]


@dataclass(frozen=True, eq=False)
class Rule:
    """A registered formula.

    Attributes:
        name: under which it is registered.
        formula: the drive D of a synapse.
        variables: those of `VARIABLES` that the formula takes.
        coefficients: those that each layer learns, and their initial values.
        synaptic: those that each synapse learns.
        gain: mean of the initial plasticity gains alpha.
    """

    name: str
    formula: Callable[..., Any]
    variables: tuple[str, ...]
    coefficients: Mapping[str, float]
    synaptic: Mapping[str, float]
    gain: float = 0.0

    def __call__(self, values: Mapping[str, Any], coefficients: Sequence[Any] | None = None) -> Any:
        """The drive D, of values that name at least `variables`, with these coefficients of the
        layer in their order, or with the initial ones; `values` may name those of the synapses.
        """
        given = self.coefficients.values() if coefficients is None else coefficients
        chosen = {name: values[name] for name in self.variables}
        chosen |= {name: values.get(name, initial) for name, initial in self.synaptic.items()}
        return self.formula(**chosen, **dict(zip(self.coefficients, given)))


RULES: dict[str, Rule] = {}


def register(name: str, formula: Callable[..., Any], gain: float = 0.0) -> None:
    """Adds a rule, so that `dp-NAME` and `ndp-NAME` are policies.

    Args:
        name: letters, digits and underscores; not one that is taken by another formula.
        formula: the drive of one synapse, with arguments as at the top of this module.
        gain: mean of the initial plasticity gains alpha.

    Raises:
        ValueError: a name that will not do, or an argument that is neither a variable nor has a
            number as its default.
    """
    if not (name.isascii() and name.isidentifier()) or name == "none":
        raise ValueError(f"a rule's name has letters, digits and underscores only, not {name!r}")
    if name in RULES and RULES[name].formula is not formula:
        raise ValueError(f"there is a rule {name} already; register yours under another name")
    variables: list[str] = []
    coefficients: dict[str, float] = {}
    synaptic: dict[str, float] = {}
    for argument in inspect.signature(formula, eval_str=True).parameters.values():
        if argument.name in VARIABLES:
            variables.append(argument.name)
        elif isinstance(argument.default, int | float):
            kind = synaptic if argument.annotation is Synaptic else coefficients
            kind[argument.name] = float(argument.default)
        else:
            raise ValueError(
                f"rule {name}: argument {argument.name!r} is none of {', '.join(VARIABLES)}; "
                "as a learned coefficient it needs its initial value as default"
            )
    RULES[name] = Rule(name, formula, tuple(variables), coefficients, synaptic, gain)


def hebb(p, q, f):
    """Hebb's rule with decay (Miconi et al. 2018)."""
    return q * p - f


def oja(p, q, f):
    """Oja 1982, with a trace on each side (Miconi et al. 2018)."""
    return q * (p - q * f)


def bcm(p, q, theta):
    """Bienenstock, Cooper and Munro 1982, without their decay."""
    return q * (q - theta) * p


def bcm_decay(p, q, theta, f):
    """Bienenstock, Cooper and Munro 1982, whose weights decay by themselves."""
    return q * (q - theta) * p - f


def covariance(p, q, f, rest=0.1):
    """Sejnowski 1977 with decay: what both sides have above a learned rate of rest."""
    return (q - rest) * (p - rest) - f


def stdp(p, q, x, s):
    """Pairs of spikes: pre before post strengthens, after it weakens.

    Song, Miller and Abbott (2000).
    """
    return p * s - q * x


def abcd(p, q, a=1.0, b=0.0, c=0.0, d=0.0):
    """Any sum of the products of both sides, with learned coefficients (Najarro and Risi 2020)."""
    return a * p * q + b * p + c * q + d


def abcd_synapse(p, q, a: Synaptic = 1.0, b: Synaptic = 0.0, c: Synaptic = 0.0, d: Synaptic = 0.0):
    """`abcd` with coefficients of each synapse, as Najarro and Risi (2020) evolve them."""
    return a * p * q + b * p + c * q + d


def stpn(p, q, f, decay: Synaptic = 0.5):
    """Short-term plasticity with a decay (a square) of each synapse; its rate is the gain alpha.

    Rodriguez, Guo and Moraitis (2022): alpha F decays so, and is driven by alpha q p.
    """
    return q * p - decay * decay * f


def delta(p, y, pp, v, f, leak=0.3):
    """Corrects what the neuron recalls, y, to what it is told, v, by a step along its key p.

    Widrow and Hoff 1960, normalised; in fast weights Schlag, Irie and Schmidhuber 2021. With the
    contracting decay a neuromodulator m moves the recall from y towards v, or for m < 0 towards -v,
    by |m| |p|^2 / (1 + |p|^2) of the way. All keys of the neuron forget |m| times the learned leak
    (a square), so that a surprise can clear them; else what other keys recall is left alone.
    """
    return (v - y) * p / (1 + pp) - leak * leak * f


for _formula in (hebb, oja, bcm, bcm_decay, covariance, stdp, abcd, abcd_synapse, stpn):
    register(_formula.__name__, _formula)
register("delta", delta, gain=1.0)
