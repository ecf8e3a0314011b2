"""Rules of synaptic plasticity: what drives a fast weight, from what is known on its
two sides.

A rule is one formula. Its arguments are named for what it needs:

    p, q      pre- and postsynaptic trace, in [0, 1]
    theta     sliding mean of q squared (BCM's threshold)
    f         the fast weight itself
    x, s      presynaptic activity (an input, or a spike) and postsynaptic spike of
              this tick
    y, pp     sums over the neuron's synapses: of f p, its own fast current, and of p
              squared
    v         current of a second compartment, from synapses of the neuron's own

An argument that is annotated `PreMean` or `PostMean` is a trace of the rule's own: a
slow mean of p or q, as it was before this tick. It moves as fast as the fast weights do
times a learned share in (0, 1), whose initial value is its default. Any other argument
is a learned coefficient, one for each layer, or where it is annotated `Synaptic`, one
for each synapse; its default is the initial value. Formulas use plain arithmetic, `log`
and `larger`, so that numbers, tensors and symbols can be put into them. To add a rule,
`register` it, here or in a module of your own.
"""

# formulas take numbers, tensors and symbols
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, singledispatch
from typing import Annotated, Any

VARIABLES = ("p", "q", "theta", "f", "x", "s", "y", "pp", "v")
OF_FAST_WEIGHTS = ("f", "y")  # zero where these are
Synaptic = Annotated[float, "of each synapse"]
PreMean = Annotated[float, "mean of p"]
PostMean = Annotated[float, "mean of q"]
log: Any = singledispatch(math.log)
larger: Any = singledispatch(max)  # of a value and a number


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
        means: names of its own traces, by what they are the mean of, p or q, and
            initial shares.
        weight: what a fast weight does, a formula of f and the means; None: f itself.
        bias: what the neuron's mean of q adds to its current, with coefficients of its
            own.
    """

    name: str
    formula: Callable[..., Any]
    variables: tuple[str, ...]
    coefficients: Mapping[str, float]
    synaptic: Mapping[str, float]
    gain: float = 0.0
    means: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    weight: Callable[..., Any] | None = None
    bias: Callable[..., Any] | None = None

    def __call__(
        self, values: Mapping[str, Any], coefficients: Sequence[Any] | None = None
    ) -> Any:
        """The drive D, of values that name at least `variables`, with these
        coefficients of the layer in their order, or with the initial ones; `values` may
        name those of the synapses.
        """
        return self._of(self.formula, {**self.synaptic, **values}, coefficients)

    def effective(self, fast: Any, values: Mapping[str, Any]) -> Any:
        """What fast weights do, before the gain.

        Args:
            fast: F.
            values: of the rule's means, by what they are means of.
        """
        if self.weight is None:
            return fast
        return self._of(self.weight, {"f": fast, **self.named(values)})

    def excitability(
        self, values: Mapping[str, Any], coefficients: Sequence[Any] | None
    ) -> Any:
        """What is added to the current of neurons, of a rule that has a bias.

        Args:
            values: of the rule's means, by what they are means of.
            coefficients: learned, in the order of the rule; None: as it sets them.
        """
        assert self.bias is not None
        return self._of(self.bias, self.named(values), coefficients)

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the means, which come by what they are means of, by their names."""
        return {name: values[side] for name, (side, _) in self.means.items()}

    def mean_of(self, side: str) -> float | None:
        """The initial share of the mean of p or q; None where the rule has none."""
        return next((share for of, share in self.means.values() if of == side), None)

    def _of(
        self,
        formula: Any,
        values: Mapping[str, Any],
        coefficients: Sequence[Any] | None = None,
    ) -> Any:
        given = self.coefficients.values() if coefficients is None else coefficients
        named = {**values, **dict(zip(self.coefficients, given))}
        return formula(**{name: named[name] for name in _arguments(formula)})


@cache
def _arguments(formula: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(formula).parameters)


RULES: dict[str, Rule] = {}


def register(
    name: str,
    formula: Callable[..., Any],
    gain: float = 0.0,
    weight: Callable[..., Any] | None = None,
    bias: Callable[..., Any] | None = None,
) -> None:
    """Adds a rule, so that `dp-NAME` and `ndp-NAME` are policies.

    Args:
        name: letters, digits and underscores; not one that is taken by another formula.
        formula: the drive of one synapse, with arguments as at the top of this module.
        gain: mean of the initial plasticity gains alpha.
        weight: what a fast weight does, of f and the formula's means; 0 where f is.
            None: f itself.
        bias: what is added to the neuron's current, of its mean of q and coefficients;
            0 where that mean is.

    Raises:
        ValueError: a name that will not do, or an argument that is neither a variable
            nor has a number as its default.
    """
    if not (name.isascii() and name.isidentifier()) or name == "none":
        raise ValueError(
            f"a rule's name has letters, digits and underscores only, not {name!r}"
        )
    if name in RULES and RULES[name].formula is not formula:
        raise ValueError(
            f"there is a rule {name} already; register yours under another name"
        )
    arguments = dict(inspect.signature(formula, eval_str=True).parameters)
    variables = [argument for argument in arguments if argument in VARIABLES]
    if bias is not None:
        arguments = dict(inspect.signature(bias, eval_str=True).parameters) | arguments
    learned = [x for x in arguments.values() if x.name not in VARIABLES]
    for argument in learned:
        if not isinstance(argument.default, int | float):
            raise ValueError(
                f"rule {name}: argument {argument.name!r} is none of "
                f"{', '.join(VARIABLES)}; as a learned coefficient it needs its "
                "initial value as default"
            )
    kinds: dict[Any, dict[str, float]] = {Synaptic: {}, PreMean: {}, PostMean: {}}
    coefficients: dict[str, float] = {}
    for argument in learned:
        kind = next(
            (x for key, x in kinds.items() if argument.annotation is key), coefficients
        )
        kind[argument.name] = float(argument.default)
    means = {mean: ("p", share) for mean, share in kinds[PreMean].items()}
    means |= {mean: ("q", share) for mean, share in kinds[PostMean].items()}
    if max(len(kinds[PreMean]), len(kinds[PostMean])) > 1:
        raise ValueError(f"rule {name}: one mean of each side, not {', '.join(means)}")
    RULES[name] = Rule(
        name,
        formula,
        tuple(variables),
        coefficients,
        kinds[Synaptic],
        gain,
        means,
        weight,
        bias,
    )


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
    """Any sum of the products of both sides, with learned coefficients (Najarro and
    Risi 2020).
    """
    return a * p * q + b * p + c * q + d


def abcd_synapse(
    p, q, a: Synaptic = 1.0, b: Synaptic = 0.0, c: Synaptic = 0.0, d: Synaptic = 0.0
):
    """`abcd` with coefficients of each synapse, evolved by Najarro and Risi (2020)."""
    return a * p * q + b * p + c * q + d


def stpn(p, q, f, decay: Synaptic = 0.5):
    """Short-term plasticity with a decay (a square) of each synapse; its rate is the
    gain alpha.

    Rodriguez, Guo and Moraitis (2022): alpha F decays so, and is driven by alpha q p.
    """
    return q * p - decay * decay * f


def delta(p, y, pp, v, f, leak=0.3):
    """Corrects what the neuron recalls, y, to what it is told, v, by a step along its
    key p.

    Widrow and Hoff 1960, normalised; in fast weights Schlag, Irie and Schmidhuber 2021.
    With the contracting decay a neuromodulator m moves the recall from y towards v, or
    for m < 0 towards -v, by |m| |p|^2 / (1 + |p|^2) of the way. All keys of the neuron
    forget |m| times the learned leak (a square), so that a surprise can clear them;
    else what other keys recall is left alone.
    """
    return (v - y) * p / (1 + pp) - leak * leak * f


FLOOR = 0.1  # of activities and of their ratio, under the logarithms of BCPNN


def bcpnn(p, q, f, usual_p: PreMean = 0.3, usual_q: PostMean = 0.3):
    """Bayesian confidence propagation: log-odds of firing together (Lansner and Ekeberg
    1989).

    F is the covariance of both sides, p_ij - p_i p_j with joint and single means p_ij,
    p_i and p_j; a synapse is worth log(p_ij / (p_i p_j)), and a neuron's bias log p_j
    (Tully et al. 2014). The neuromodulator gates the learning of all three.
    """
    return (p - usual_p) * (q - usual_q) - f


def bcpnn_weight(f, usual_p, usual_q):
    """log(p_ij / (p_i p_j)), with floors; 0 where F is.

    Currents and graded units have negative means, by which nothing must be divided.
    """
    usual = (larger(usual_p, 0.0) + FLOOR) * (larger(usual_q, 0.0) + FLOOR)
    return log(larger(1 + f / usual, FLOOR))


def bcpnn_bias(usual_q, excitability=0.1):
    """Bias log p_j from a floor, times a learned coefficient."""
    return excitability * log(larger(1 + usual_q / FLOOR, FLOOR))


for _formula in (hebb, oja, bcm, bcm_decay, covariance, stdp, abcd, abcd_synapse, stpn):
    register(_formula.__name__, _formula)
register("delta", delta, gain=1.0)
register("bcpnn", bcpnn, 0.1, bcpnn_weight, bcpnn_bias)
