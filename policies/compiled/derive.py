"""From the formula of a rule to compiled code: coefficients, and their derivatives.

The kernels know drives of the form

    D = k + (a + g) p + b x + (c + m p + y x) f

in which the coefficients k to y are functions of what belongs to the postsynaptic neuron (q, theta,
s, y, pp, v) and of the rule's own learned coefficients; g is 0 where y is, and k, a and b do not
depend on y.
"""

import functools
from typing import Any, NamedTuple

import sympy

from spikepropamine.policies.rules import Rule

# powers of p, x and f in the terms of a drive
TERMS = {
    "k": (0, 0, 0), "a": (1, 0, 0), "b": (0, 1, 0), "c": (0, 0, 1), "m": (1, 0, 1), "y": (0, 1, 1)
}  # fmt: skip
P, X, F = sympy.symbols("p x f", real=True)
NEURON = ("q", "theta", "s", "y", "pp", "v")
SYMBOLS = {name: sympy.Symbol(name, real=True) for name in NEURON}


class Drive(NamedTuple):
    """A rule that has the general form.

    Attributes:
        terms: those of `TERMS` and g whose coefficient is not zero.
        variables: those of `NEURON` that the rule takes.
        source: Python code of two functions: `drive`, of `NEURON` and the learned coefficients w,
            which gives all coefficients in the order of `TERMS`, and g; and `drive_adjoint`, of the
            same and of the gradients to these, which adds to those of w in column j of d_w, and
            gives those to `NEURON`.
    """

    terms: frozenset[str]
    variables: frozenset[str]
    source: str


@functools.cache
def derive(rule: Rule) -> Drive | None:
    """The code of a rule, or None where it is not of the general form."""
    learned = sympy.symbols([f"w{n}" for n in range(len(rule.coefficients))], real=True)
    values = SYMBOLS | {"p": P, "x": X, "f": F}
    try:
        polynomial = sympy.Poly(rule(values, learned), P, X, F)
        coefficients = {name: sympy.Integer(0) for name in TERMS}
        names = {powers: name for name, powers in TERMS.items()}
        for powers, coefficient in polynomial.terms():
            coefficients[names[powers]] = sympy.factor_terms(sympy.factor(coefficient))
        y, whole = SYMBOLS["y"], coefficients["a"]
        if any(coefficients[name].has(y) for name in ("k", "b")):
            return None
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
            *(f"    d_w[{n}, j] += {_code(gradients[w])}" for n, w in enumerate(learned)),
            f"    return {', '.join(_code(gradients[x]) for x in SYMBOLS.values())}",
        ]
    except (sympy.PolynomialError, KeyError, TypeError, AttributeError, ValueError):
        return None
    terms = frozenset(name for name, c in coefficients.items() if c != 0)
    return Drive(terms, frozenset(NEURON) & {*rule.variables}, "\n".join(lines) + "\n")


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
        return f"({product})" if expression.exp > 0 else f"(constant(1.0, q) / ({product}))"
    raise ValueError(f"no code for {expression}")
