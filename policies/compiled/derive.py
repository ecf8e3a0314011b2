"""From the formula of a rule to compiled code: coefficients, their derivatives, and the
kernels of one kind of layer.

The kernels know drives of the form

    D = k + (a + g) p + b x + o P + (c + m p + y x) f

with P the rule's mean of p, in which the coefficients k to o are functions of what
belongs to the postsynaptic neuron (q, theta, s, y, pp, v, and the rule's mean Q of
q) and of the learned coefficients; g is 0 where y is, and k, a, b and o do not depend
on y. The terms with c, and with a where g is 0, may each have a factor made of the
synapse's own coefficients. What a fast weight does may be any function of f, P and Q,
and a bias any of Q and the coefficients.
"""

import functools
import importlib
import sys
from types import ModuleType
from typing import Any, NamedTuple

import sympy

from spikepropamine.policies.compiled import numba_private, rows, synapses
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES, Rule, larger, log

# powers of p, x, f and P in the terms of a drive
TERMS = {
    "k": (0, 0, 0, 0),
    "a": (1, 0, 0, 0),
    "b": (0, 1, 0, 0),
    "c": (0, 0, 1, 0),
    "m": (1, 0, 1, 0),
    "y": (0, 1, 1, 0),
    "o": (0, 0, 0, 1),
}
P, X, F, PRE_MEAN = sympy.symbols("p x f pre_mean", real=True)
NEURON = ("q", "theta", "s", "y", "pp", "v", "post_mean")
log.register(sympy.Expr, sympy.log)
larger.register(sympy.Expr, sympy.Max)
SYMBOLS = {name: sympy.Symbol(name, real=True) for name in NEURON}


class Drive(NamedTuple):
    """A rule that has the general form.

    Attributes:
        terms: those of `TERMS` and g whose coefficient is not zero.
        variables: those of `NEURON` that the rule takes.
        source: Python code of two functions: `drive`, of `NEURON` and the learned
            coefficients w, which gives all coefficients in the order of `TERMS`, and g;
            and `drive_adjoint`, of the same and of the gradients to these, which adds
            to those of w in column j of d_w, and gives those to `NEURON`. For each of a
            and c that has such a factor, `weight_a` gives it for synapse i, j, and
            `weight_a_adjoint` adds what a gradient to it means to d_synaptic; both take
            an array for each coefficient, which `matrices_of` gives. Of rules that have
            them, `weight` and `bias`, and `weight_slopes` and `bias_adjoint`.
        weighted: the terms that have such a factor.
    """

    terms: frozenset[str]
    variables: frozenset[str]
    source: str
    weighted: frozenset[str]


class NoKernels(ValueError):
    """A rule is not of the general form; the message says why."""


@functools.cache
def derive(rule: Rule) -> Drive:
    """The code of a rule.

    Raises:
        NoKernels: it is not of the general form.
    """
    learned = sympy.symbols([f"w{n}" for n in range(len(rule.coefficients))], real=True)
    synaptic = sympy.symbols([f"g{n}" for n in range(len(rule.synaptic))], real=True)
    means = {"p": PRE_MEAN, "q": SYMBOLS["post_mean"]}
    values = (
        SYMBOLS
        | {"p": P, "x": X, "f": F}
        | dict(zip(rule.synaptic, synaptic))
        | rule.named(means)
    )
    try:
        polynomial = sympy.Poly(rule(values, learned), P, X, F, PRE_MEAN, *synaptic)
        weights: dict[str, Any] = {}
        coefficients = {name: sympy.Integer(0) for name in TERMS}
        names = {powers: name for name, powers in TERMS.items()}
        for powers, coefficient in polynomial.terms():
            if powers[:4] not in names:
                raise NoKernels("it is not linear in p, x and f")
            name = names[powers[:4]]
            weight = sympy.prod(g**n for g, n in zip(synaptic, powers[4:]))
            if weight != 1 and name not in "ac":
                raise NoKernels(
                    "a coefficient of each synapse multiplies another term than those "
                    "of p and of f"
                )
            if weights.setdefault(name, weight) != weight:
                raise NoKernels(
                    "the term of p, or of f, has different coefficients of each synapse"
                )
            coefficients[name] = sympy.factor_terms(sympy.factor(coefficient))
        weights = {name: weight for name, weight in weights.items() if weight != 1}
        y = SYMBOLS["y"]
        whole = coefficients["a"]
        if any(coefficients[name].has(y) for name in "kbo"):
            raise NoKernels("the recalled current y is in another term than that of p")
        if "a" in weights and whole.has(y):
            raise NoKernels(
                "a coefficient of each synapse multiplies the recalled current y"
            )
        coefficients["g"] = sympy.Integer(0)
        if whole.has(y):
            coefficients["a"] = sympy.factor(whole.subs(y, 0))
            coefficients["g"] = sympy.factor(whole - coefficients["a"])
        gradients = {
            variable: sum(
                sympy.Symbol(f"d_{name}") * sympy.factor(sympy.diff(c, variable))
                for name, c in coefficients.items()
            )
            for variable in (*learned, *SYMBOLS.values())
        }
        upstream = ", ".join(f"d_{name}" for name in coefficients)
        arguments = ", ".join(NEURON)
        lines = [
            f"def drive({arguments}, w):",
            *(f"    w{n} = w[{n}]" for n in range(len(learned))),
            f"    return {', '.join(map(_code, coefficients.values()))}",
            f"def drive_adjoint({arguments}, w, {upstream}, d_w, j):",
            *(f"    w{n} = w[{n}]" for n in range(len(learned))),
            *(
                f"    d_w[{n}, j] += {_code(gradients[w])}"
                for n, w in enumerate(learned)
            ),
            f"    return {', '.join(_code(gradients[x]) for x in SYMBOLS.values())}",
        ]
        matrices = ", ".join(f"synaptic[{n}]" for n in range(max(1, len(synaptic))))
        lines += ["def matrices_of(synaptic):", f"    return ({matrices},)"]
        for name in "ac":
            weight = weights.get(name, sympy.Integer(1))
            numbers = []
            if name in weights:
                numbers = [
                    f"    g{n} = synaptic[{n}][i, j]" for n in range(len(synaptic))
                ]
                numbers.append("    q = g0  # for the type of numbers")
            slopes = (
                [sympy.diff(weight, g) for g in synaptic] if name in weights else []
            )
            lines += [
                f"def weight_{name}(synaptic, i, j):",
                *numbers,
                f"    return {_code(weight) if name in weights else 1}",
                f"def weight_{name}_adjoint(synaptic, d_synaptic, i, j, d):",
                *numbers,
                *(
                    f"    d_synaptic[{n}][i, j] += d * {_code(x)}"
                    for n, x in enumerate(slopes)
                    if x
                ),
                "    return",
            ]
        lines += _weight_and_bias(rule, means, learned)
    except NoKernels:
        raise
    except (sympy.PolynomialError, KeyError, TypeError, AttributeError, ValueError):
        raise NoKernels(
            "it is no polynomial in p, x and f whose parts can be compiled"
        ) from None
    terms = frozenset(name for name, c in coefficients.items() if c != 0)
    variables = frozenset(NEURON) & {*rule.variables}
    return Drive(terms, variables, "\n".join(lines) + "\n", frozenset(weights))


def _weight_and_bias(rule: Rule, means: dict[str, Any], learned: Any) -> list[str]:
    """Code of what a fast weight does and of what is added to the current, and their
    slopes.
    """
    weight = rule.effective(F, means)
    slopes = [sympy.diff(weight, x) for x in (F, PRE_MEAN, means["q"])]
    bias = sympy.Integer(0)
    q = means["q"]
    if rule.bias is not None:
        bias = rule.excitability(means, learned)
    unpacked = [f"    w{n} = w[{n}]" for n in range(len(learned))]
    return [
        "def weight(f, pre_mean, post_mean):",
        "    q = f  # for the type of numbers",
        f"    return {_code(weight)}",
        "def weight_slopes(f, pre_mean, post_mean):",
        "    q = f",
        f"    return {', '.join(map(_code, slopes))}",
        "def bias(post_mean, w):",
        "    q = post_mean",
        *unpacked,
        f"    return {_code(bias)}",
        "def bias_adjoint(post_mean, w, d, d_w, j):",
        "    q = post_mean",
        *unpacked,
        *(
            f"    d_w[{n}, j] += d * {_code(sympy.diff(bias, w))}"
            for n, w in enumerate(learned)
            if bias.has(w)
        ),
        f"    return d * {_code(sympy.diff(bias, q))}",
    ]


def _code(expression: Any) -> str:
    """Code of a sum of products, with every number in the type of q."""
    if expression.is_Symbol:
        return str(expression)
    if expression.is_Number:
        return f"constant({float(expression)!r}, q)"
    if expression.is_Add:
        return "(" + " + ".join(map(_code, expression.args)) + ")"
    if expression.is_Mul:
        return "(" + " * ".join(map(_code, expression.args)) + ")"
    if expression.is_Pow and expression.exp.is_Integer:
        product = " * ".join([_code(expression.base)] * abs(int(expression.exp)))
        return (
            f"({product})"
            if expression.exp > 0
            else f"(constant(1.0, q) / ({product}))"
        )
    if isinstance(expression, sympy.log):
        return f"log({_code(expression.args[0])})"
    if isinstance(expression, sympy.Max):
        return "max(" + ", ".join(map(_code, expression.args)) + ")"
    if isinstance(expression, sympy.Heaviside):
        return f"step({_code(expression.args[0])})"
    raise ValueError(f"no code for {expression}")


STATIC = Rule("none", lambda: 0, (), {}, {})  # of synapses without plasticity


def kernels_for(spec: LayerSpec) -> Any:
    """The module `synapses.sequence`, for layers such as this one."""
    retroactive = spec.modulation == "retroactive"
    contracting = spec.decay == "contracting" or not spec.plastic
    graded = spec.units == "tanh"
    return _kernels(spec.rule, retroactive, contracting, spec.recurrent, graded)


@functools.cache
def _kernels(
    name: str, retroactive: bool, contracting: bool, recurrent: bool, graded: bool
) -> Any:
    rule = RULES.get(name, STATIC)
    drive = derive(rule)
    constants: dict[str, Any] = {
        "PLASTIC": rule is not STATIC,
        # the neuromodulator multiplies an eligibility, or the drive
        "RETROACTIVE": retroactive,
        "CONTRACTING": contracting,  # decay by |r|, or by r
        "RECURRENT": recurrent,
        "GRADED": graded,  # tanh units, without spikes
        "COEFFICIENTS": len(rule.coefficients),  # that the layer learns
        "SYNAPTIC": len(rule.synaptic),  # that each synapse learns
        # the terms that have a factor of each synapse
        "WEIGHTED_A": "a" in drive.weighted,
        "WEIGHTED_C": "c" in drive.weighted,
        # whether the rule takes y, pp and v
        "RECALLS": "y" in drive.variables,
        "NORMALISES": "pp" in drive.variables,
        "TARGETED": "v" in drive.variables,
        # whether it has means and formulas
        "PRE_MEAN": rule.mean_of("p") is not None,
        "POST_MEAN": rule.mean_of("q") is not None,
        "WEIGHS": rule.weight is not None,
        "BIASES": rule.bias is not None,
    }
    constants |= {f"HAS_{term.upper()}": term in drive.terms for term in (*TERMS, "g")}
    digest = numba_private.digest(
        drive.source + repr(constants)
    )  # rules of one formula share it
    package = ModuleType(f"{synapses.__name__}_{digest}")
    if package.__name__ not in sys.modules:
        kind = ModuleType(f"{package.__name__}.kind")
        used = {
            "constant": numba_private.constant,
            "log": numba_private.log,
            "step": rows.step,
        }
        vars(kind).update(constants, NAME=digest, **used)
        exec(drive.source, vars(kind))
        for function in FUNCTIONS:
            setattr(kind, function, numba_private.spliced(getattr(kind, function)))
        package.__path__ = synapses.__path__
        sys.modules |= {package.__name__: package, kind.__name__: kind}
    return importlib.import_module(f"{package.__name__}.sequence")


FUNCTIONS = (
    "drive",
    "drive_adjoint",
    "matrices_of",
    "weight_a",
    "weight_a_adjoint",
    "weight_c",
    "weight_c_adjoint",
    "weight",
    "weight_slopes",
    "bias",
    "bias_adjoint",
)
