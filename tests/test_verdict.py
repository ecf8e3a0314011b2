"""What is said of an evaluation: facts, which sentences only put into words."""

import numpy as np
import pytest
from example_evaluation import condition, evaluation, example

from spikepropamine.report.verdict import caveats, comparisons, facts, sentences
from spikepropamine.statistics import HIGHER, LOWER, NO_DIFFERENCE
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
    assert [plain(percent(x)) for x in (0.917, -0.004, -0.12)] == ["92 %", "0 %", "-12 %"]
    assert with_interval(1.0, (0.9, 1.1)) == "1.00 [0.90, 1.10]"
    assert plain(with_interval(1.0, (0.9, 1.1), as_percent=True)) == "100 % [90, 110]"
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [plural(1, "seed"), plural(2000, "seed")] == ["1 seed", "2,000 seeds"]
    assert [p_value(0.0321), p_value(0.0002)] == ["0.032", "< 0.001"]


def test_facts_of_a_plastic_policy():
    found = facts(example(), "ndp-oja")
    assert (found.random, found.still, found.learned) == (-280, -1, [True] * 3)
    assert found.plastic and found.off == [HIGHER] * 8 and found.late is None
    least, most = found.severest[0], found.severest[-1]
    assert least.condition.severity == 1 and most.condition.label == "light"
    assert least.score.mean == pytest.approx((0.6 * 4000 + 280) / 4280, abs=1e-3)
    assert least.off.mean == pytest.approx((0.6 * 4000 - 400 + 280) / 4280, abs=1e-3)
    changed, scores, off = found.recovery
    assert changed.onset == 500 and scores["fraction"].mean == pytest.approx(0.8, abs=0.01)
    assert scores["recovery_time"].mean == 230 and off.mean == pytest.approx(0, abs=1e-6)


def test_facts_of_a_policy_without_plasticity():
    found = facts(example(), "snn")
    assert not found.plastic and found.kept_off is None and found.without is None
    assert found.off == [NO_DIFFERENCE] * 8


def test_facts_of_trials():
    found = facts(example(cue=True), "ndp-oja")
    assert (found.late.mean, found.first.mean) == pytest.approx((1.0, 0.4))
    assert found.rise.mean == pytest.approx(0.6)


def test_facts_of_contexts():
    first, later = facts(example(contexts=True), "ndp-oja").contexts
    assert first.relative and not first.later and later.later
    assert first.paces[None].mean == pytest.approx(4.3 / 5.1)
    assert first.paces["off"].mean == pytest.approx(0.3 / 5.1)
    assert first.regained is None and later.regained.mean == pytest.approx(0.75)
    assert later.teacher_regained.mean == pytest.approx(0.75) and first.time.mean == 40


def clean(**returns):
    """Policies in the clean task, by name the returns of runs and episodes; random actions: 0."""
    measured = {}
    for policy, values in returns.items():
        measured[policy, "clean", "return"] = values = np.array(values, dtype=float)
        measured[policy, "clean", "length"] = np.full(values.shape, 100.0)
        measured[policy, None, "random_return"] = np.tile([-1.0, 0, 0, 0, 1], (len(values), 1))
    return evaluation([condition()], measured)


def test_who_earns_no_more_than_random_actions_has_not_learned():
    found = clean(good=[[5, 6, 7, 8, 9]], bad=[[-1, 0, 1, 0, 1]], few=[[5, 6, 7]])
    assert [found.learned(name) for name in found.policies] == [[True], [False], [None]]
    assert not facts(found, "bad").severest
    assert len({sentences(facts(found, name))[0].split("(")[0] for name in found.policies}) == 3


def test_comparisons_are_of_runs_and_corrected():
    runs = np.arange(5.0)[:, None] + np.zeros(5)
    found = clean(a=10 + runs, b=runs + 0.1, c=runs)
    by_pair = {(c.policy, c.other): c for c in found.comparisons}
    assert [by_pair["a", x].verdict for x in "bc"] == [HIGHER] * 2
    assert by_pair["b", "c"].verdict == NO_DIFFERENCE
    assert by_pair["a", "b"].p == pytest.approx(3 * by_pair["a", "b"].found.p, rel=0.1)
    assert [len(text) > 0 for text in comparisons(found)] == [True] * 3
    assert "equal" not in " ".join(comparisons(found))
    (alone,) = clean(once=[[0, 1, 2, 3, 4]], more=[[5, 6, 7, 8, 9.5]] * 2).comparisons
    assert alone.verdict == LOWER and alone.found.mean == pytest.approx(-5.1)


def test_what_the_numbers_cannot_tell_is_told():
    found = example()
    before = caveats(found)
    for run in found.asked["runs"]:
        run["steps"] = 500_000 if run["policy"] == "mlp" else 1_000_000
    stopped, unequal = (text for text in caveats(found) if text not in before)
    assert "500,000 of 1,000,000" in stopped and "500,000" in unequal
    without_limit = caveats(example(own_limit=False))
    assert len(without_limit) == len(before) + 1 and len(caveats(example(seeds=[0, 99]))) == 2
    failed = caveats(clean(a=[[5, 6, 7, 8, 9], [0, 0, 1, 0, 0]]))
    assert sum("seed 1" in text for text in failed) == 1
