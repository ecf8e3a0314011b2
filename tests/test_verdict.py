"""What is said of an evaluation."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_of_arrays import condition, evaluation
from example_evaluation import example, with_lesion

from spikepropamine.report.sentences import sentences
from spikepropamine.statistics import HIGHER, LOWER, NO_DIFFERENCE, UNTESTED
from spikepropamine.words import listed, number, p_value, percent, plural, with_interval


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (4571.8, "4,572"),
        (-280.2, "-280"),
        (12.34, "12.3"),
        (1.0, "1.00"),
        (0.99999, "1.00"),
        (0.4567, "0.457"),
        (-0.05, "-0.050"),
        (0.00012, "1.2e-04"),
    ],
)
def test_numbers_have_about_three_digits(value, text):
    assert plain(number(value)) == text


def test_numbers_in_words():
    assert [plain(percent(x)) for x in (0.917, -0.004, -0.12)] == [
        "92 %",
        "0 %",
        "-12 %",
    ]
    assert with_interval(1.0, (0.9, 1.1)) == "1.00 [0.90, 1.10]"
    assert with_interval(1.0, (1.0, 1.0)) == "1.00"  # by definition
    assert with_interval(1.0, None, without="all 5 equal") == "1.00 (all 5 equal)"
    assert plain(with_interval(1.0, (0.9, 1.1), as_percent=True)) == "100 % [90, 110]"
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [plural(1, "seed"), plural(2000, "seed")] == ["1 seed", "2,000 seeds"]
    assert [p_value(0.0321), p_value(0.0002)] == ["0.032", "< 0.001"]


def said_of(found, policy):
    return plain(" ".join(sentences("verdict", found, policy)))


def test_what_a_plastic_policy_keeps_and_what_comes_back():
    said = said_of(example(), "ndp-oja")
    kept = [(0.6 * 4000 + more + 280) / 4280 for more in (0, -400)]
    whole, without = (plain(percent(share)) for share in kept)
    assert f"at the highest severities, {whole} [" in said
    assert f"(plasticity off: {without} [" in said
    assert "81 % [" in said and "230 steps (plasticity off: 0 %" in said
    assert "cannot be tested with so few runs" in said


@pytest.mark.parametrize(("runs", "effect"), [(3, UNTESTED), (4, HIGHER)])
def test_the_effect_of_a_lesion_is_tested_from_four_runs_on(runs, effect):
    off = with_lesion(condition(), "off")
    returns = np.arange(float(runs))[:, None] + np.zeros(5)
    measured = {}
    for key, value in ((off["key"], returns), ("clean", returns + 9 + returns / 9)):
        measured["ndp-oja", key, "return"] = value
        measured["ndp-oja", key, "length"] = np.full(value.shape, 100.0)
    found = evaluation([condition(), off], measured)
    assert found.effects("ndp-oja", "off") == [effect]


def test_nothing_is_said_of_the_plasticity_of_a_static_policy():
    assert "plasticity" not in said_of(example(), "snn")


def test_late_and_first_trials():
    said = said_of(example(cue=True), "ndp-oja")
    assert said.startswith("is right in 100 %") and "40 % of the first" in said


def test_paces_in_contexts():
    found = example(contexts=True)
    said = said_of(found, "ndp-oja")
    for pace in (4.3 / 5.1, 0.3 / 5.1):
        assert (
            said.count(f"{plain(percent(pace))} [") == 2
        )  # of early contexts and of later ones
    assert "after 40 steps" in said
    assert said.count("75 %") == 2  # of its own changes, and of the teacher's


def clean(**returns):
    """Policies in the clean task, by name the returns of runs and episodes; random
    actions: 0.
    """
    measured = {}
    for policy, values in returns.items():
        measured[policy, "clean", "return"] = values = np.array(values, dtype=float)
        measured[policy, "clean", "length"] = np.full(values.shape, 100.0)
        measured[policy, None, "random_return"] = np.tile(
            [-1.0, 0, 0, 0, 1], (len(values), 1)
        )
    return evaluation([condition()], measured)


def test_who_earns_no_more_than_random_actions_has_not_learned():
    found = clean(good=[[5, 6, 7, 8, 9]], bad=[[-1, 0, 1, 0, 1]], few=[[5, 6, 7]])
    assert [found.learned(name) for name in found.policies] == [[True], [False], [None]]
    assert (
        len(
            {
                sentences("verdict", found, name)[0].split("(")[0]
                for name in found.policies
            }
        )
        == 3
    )
    # one episode makes the mean higher, and all others are lower than those of random
    # actions
    assert clean(lucky=[[-2.0] * 9 + [90.0]]).learned("lucky") == [False]


def test_comparisons_are_of_runs_and_corrected():
    runs = np.arange(5.0)[:, None] + np.zeros(5)
    found = clean(a=10 + runs, b=runs + 0.1, c=runs)
    by_pair = {(c.policy, c.other): c for c in found.comparisons}
    assert [by_pair["a", x].verdict for x in "bc"] == [HIGHER] * 2
    assert by_pair["b", "c"].verdict == NO_DIFFERENCE
    assert by_pair["a", "b"].p == pytest.approx(
        3 * by_pair["a", "b"].difference.p, rel=0.1
    )
    assert [len(text) > 0 for text in sentences("comparisons", found)] == [True] * 3
    assert "equal" not in " ".join(sentences("comparisons", found))
    (alone,) = clean(once=[[0, 1, 2, 3, 4]], more=[[5, 6, 7, 8, 9.5]] * 2).comparisons
    assert alone.verdict == LOWER and alone.difference.mean == pytest.approx(-5.1)


def test_a_third_policy_that_was_trained_once_makes_no_difference_to_two():
    spread = 20 * np.arange(5.0)[:, None] + np.arange(5.0)
    pair = {"a": spread + 1, "b": spread}
    (alone,) = clean(**pair).comparisons
    beside, *others = clean(**pair, c=spread[:1]).comparisons
    assert beside.difference == alone.difference and alone.verdict == NO_DIFFERENCE
    assert [part.once for part in (alone, beside, *others)] == [
        False,
        False,
        True,
        True,
    ]


def test_episodes_without_a_late_answer_are_in_no_comparison():
    measured = {}
    for policy, right in (("a", 1.0), ("b", 0.0)):
        correct = np.full((1, 8, 4), right)
        correct[0, 7, 2:] = np.nan if policy == "b" else right
        measured[policy, "clean", "correct"] = correct
        measured[policy, "clean", "return"] = correct.sum(
            axis=2, where=np.isfinite(correct)
        )
    (alone,) = evaluation([condition()], measured).comparisons
    assert (alone.measure, alone.difference.mean) == ("late_accuracy", 1.0)
    assert alone.verdict == HIGHER


def test_what_the_numbers_cannot_tell_is_told():
    found = example()
    before = sentences("caveats", found)
    runs = [
        replace(run, steps=500_000 if run.policy == "mlp" else 1_000_000)
        for run in found.description.runs
    ]
    found.description = replace(found.description, runs=tuple(runs))
    stopped, unequal = (
        text for text in sentences("caveats", found) if text not in before
    )
    assert "500,000 of 1,000,000" in stopped and "500,000" in unequal
    without_limit = sentences("caveats", example(own_limit=False))
    assert len(without_limit) == len(before) + 1
    assert len(sentences("caveats", example(seeds=[0, 99]))) == 2
    failed = sentences("caveats", clean(a=[[5, 6, 7, 8, 9], [0, 0, 1, 0, 0]]))
    assert sum("seed 1" in text for text in failed) == 1
