"""Statistics against answers known by hand, and their intervals against the truth."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.statistics import (
    DIFFERENCE_OF_SHARES,
    SHARE,
    Units,
    difference,
    interval,
    lies_above,
    probability_of_improvement,
    shown_positive,
    wilson,
)


def test_scores_by_hand():
    runs = np.array([[1.0, 3.0], [4.0, 6.0], [9.0, 13.0]])  # three runs of two episodes
    units = Units(3, 2)
    values = units.of(runs)
    score = units.score(lambda weights: weights @ values)
    assert score["by_run"] == [2.0, 5.0, 11.0]
    assert score["mean"] == pytest.approx(6.0, rel=1e-14)
    assert score["interval"][0] < 2.0 and score["interval"][1] > 11.0  # three seeds tell little
    assert units.score(lambda weights: weights @ values, (2.0, 11.0))["interval"] == [2.0, 11.0]
    # sorted 0 1 2 4 6 7 9 100: a quarter off each end leaves 2 4 6 7
    single = Units(1, 8)
    episodes = single.of(np.array([[100.0, 0, 2, 1, 4, 9, 6, 7]]))
    score = single.score(lambda weights: weights @ episodes)
    assert score["interquartile_mean"] == 19 / 4 and score["by_run"] == [129 / 8]
    assert single.score(lambda weights: weights @ episodes * np.nan) is None


def test_pseudo_values_of_a_mean_are_the_values_and_those_of_a_ratio_as_by_hand():
    units, values, others = Units(4, 2), np.array([1.0, 4.0, 9.0, 2.0]), np.arange(1.0, 5.0)
    np.testing.assert_allclose(units.pseudo_values(lambda weights: weights @ values), values)
    found = units.pseudo_values(lambda weights: (weights @ values) / (weights @ others))
    for unit in range(4):
        left = np.delete(values, unit).mean() / np.delete(others, unit).mean()
        assert found[unit] == pytest.approx(4 * values.mean() / others.mean() - 3 * left)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[2.5], [2.5, 3.5], [2.5, 2.5, 2.5], [0.1 + 0.2, 0.3, 0.3]])
def test_what_tells_nothing_of_the_spread_has_no_interval(values):
    assert interval(float(np.mean(values)), np.array(values)) is None
    assert difference(np.array(values), np.arange(5.0))["interval"] is None


def test_an_interval_is_never_without_width():
    for values in ([0.0, 0.0, 1.0], [1.0, 2.0, 3.0], [1.0] * 9 + [1.001]):
        low, high = interval(float(np.mean(values)), np.array(values))
        assert low < np.mean(values) < high


def test_an_interval_ends_where_the_measure_does():
    values = np.array([0.7, 0.95, 1.0, 0.98])
    free, bounded = (
        Units(4, 20).score(lambda weights: weights @ values, *bounds) for bounds in ((), (SHARE,))
    )
    assert free["interval"][1] > 1
    assert bounded["interval"] == [free["interval"][0], 1.0]
    steps = Units(4, 20).score(lambda weights: weights @ (500 * values), (0.0, 500.0))
    np.testing.assert_allclose(steps["interval"], 500 * np.array(bounded["interval"]))
    # no share, so not as many equal answers to a question
    assert Units(1, 20).score(lambda w: w @ np.full(20, 500.0), (0.0, 500.0))["interval"] is None
    low, high = np.array([0.0, 0.1, 0.3]), np.array([0.9, 1.0, 0.8])
    assert difference(high, low)["interval"][1] > 1
    found = difference(high, low, DIFFERENCE_OF_SHARES)["interval"]
    ends = [Units(3, 1).score(lambda w, x=x: w @ x, SHARE)["interval"] for x in (high, low)]
    (one, other), gap = ends, high.mean() - low.mean()
    sides = [high.mean() - one[0], other[1] - low.mean()], [one[1] - high.mean(), low.mean()]
    below, above = (np.hypot(*side) for side in sides)  # no share is beyond its end
    np.testing.assert_allclose(found, [gap - below, gap + above])


def test_symmetric_samples_have_students_interval():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(interval(3.0, values), [3 - half, 3 + half])


def test_a_long_tail_makes_its_side_longer():
    values = np.array([1.0, 1.1, 1.2, 1.3, 5.0])
    low, high = interval(float(values.mean()), values)
    half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert values.mean() - low == pytest.approx(half) and high - values.mean() > 1.2 * half


@pytest.mark.parametrize("values", [[1.0, 1.1, 1.2, 1.3, 5.0], [0.0, 3.0, 3.5, 4.0], [2.0, 2, 9]])
def test_the_longer_side_is_that_of_halls_transformation(values):
    values = np.array(values)
    count, skewness = len(values), stats.skew(values) / np.sqrt(len(values))
    edges = np.array(interval(float(values.mean()), values))
    x = (values.mean() - edges) / (values.std(ddof=1) / np.sqrt(count))
    transformed = x + skewness * x**2 / 3 + skewness**2 * x**3 / 27 + skewness / 6
    t = stats.t.ppf(0.975, count - 1)
    longer, shorter = (1, 0) if skewness > 0 else (0, 1)
    assert abs(transformed[longer]) == pytest.approx(t)
    assert abs(x[shorter]) == pytest.approx(t)  # never shorter than Student's


def test_wilsons_interval():
    low, high = wilson(0.3, 50)
    z = stats.norm.ppf(0.975)
    for end in (low, high):  # both ends are z standard errors of their own away
        assert abs(0.3 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 50))


def test_two_policies_compared_by_hand():
    one, other = np.array([3.0, 5.0, 7.0]), np.array([1.0, 3.0, 4.0])
    found, wins = difference(one, other), probability_of_improvement(one, other)
    assert found["mean"] == pytest.approx(5 - 8 / 3)
    # 3 beats 1 and ties with 3; 5 and 7 beat all
    assert wins["mean"] == pytest.approx((1 + 0.5 + 3 + 3) / 9)
    assert wins["mean"] == stats.mannwhitneyu(one, other).statistic / 9
    assert 0 <= wins["interval"][0] <= wins["mean"] <= wins["interval"][1] <= 1
    low, high = found["interval"]
    assert low < found["mean"] < high
    np.testing.assert_array_equal(measures.improved(one[:2], np.array([3.0, 2.0])), [0.5, 1.0])


def test_three_against_three_never_show_that_one_is_better():
    worst, best = np.arange(3.0), np.arange(3.0) + 100
    assert probability_of_improvement(best, worst)["interval"][0] < 0.5
    assert probability_of_improvement(np.arange(4.0) + 100, np.arange(4.0))["interval"][0] > 0.5


def test_a_difference_of_large_equal_samples_is_welchs():
    random = np.random.default_rng(0)
    one, other = random.normal(1.0, 2.0, 3000), random.normal(0.0, 1.0, 3000)
    low, high = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    np.testing.assert_allclose(difference(one, other)["interval"], [low, high], atol=0.01)


def test_the_difference_the_other_way_round_is_the_same_with_another_sign():
    one, other = np.array([1.0, 1.1, 1.2, 1.3, 5.0]), np.array([0.0, 3.0, 3.5, 4.0])
    low, high = difference(one, other)["interval"]
    assert difference(other, one)["interval"] == pytest.approx([-high, -low])
    value = one.mean() - other.mean()
    assert value - low != pytest.approx(high - value, rel=0.1)  # its sides are no equals


def test_the_probability_the_other_way_round_is_the_rest():
    one, other = np.array([1.0, 2.0, 9.0, 4.0, 5.0, 7.0]), np.array([0.0, 3.0, 8.0])
    first, second = probability_of_improvement(one, other), probability_of_improvement(other, one)
    assert second["mean"] == pytest.approx(1 - first["mean"])
    assert second["interval"] == pytest.approx([1 - edge for edge in first["interval"][::-1]])
    assert first["interval"] == wilson(first["mean"], 3)  # as many as the smaller sample has


def test_equal_differences_are_shown_by_their_number():
    assert shown_positive(np.full(6, 0.5)) is True
    assert shown_positive(np.full(6, -0.5)) is False
    assert shown_positive(np.full(5, 0.5)) is None
    assert shown_positive(np.array([0.5])) is None
    assert shown_positive(np.array([1.0, 2.0, 3.0, 2.0, 1.5])) is True


@pytest.mark.parametrize(
    ("population", "seeds", "least"),
    [
        ("normal", 3, 0.95),
        ("normal", 5, 0.95),
        ("normal", 10, 0.94),
        ("long tail above", 5, 0.9),
        ("1 in 5 fails", 3, 0.85),
        ("1 in 5 fails", 5, 0.82),
        ("very long tail", 3, 0.85),
    ],
)
def test_intervals_cover_the_truth(population, seeds, least):
    assert coverage.covered(coverage.ours, population, seeds, 1000)[0] >= least


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("pair", coverage.PAIRS)
def test_probabilities_of_improvement_cover_the_truth(pair, seeds):
    share, shown = coverage.covered_probability(pair, seeds, 500)
    assert share >= 0.92
    assert seeds > 3 or not shown


def test_shares_at_the_end_of_their_scale_are_told_apart():
    perfect, chance = np.ones(5), np.array([0.5, 0.52, 0.49, 0.51, 0.5])
    assert difference(perfect, chance)["interval"] is None
    low, high = difference(perfect, chance, (-1.0, 1.0))["interval"]
    assert 0 < low < 0.496 <= high
    low, high = difference(perfect, perfect, (-1.0, 1.0))["interval"]
    assert low < 0 < high


def test_few_values_lie_above_others_where_all_of_them_do():
    good, random = np.array([3125.0, 1396, 3237, 3094, 2474]), np.array([5.0, 20, 17, 90, 16])
    assert not shown_positive(good - random)  # one of five is far off
    assert lies_above(good, random) and not lies_above(good[:3], random[:3])
    assert not lies_above(good, np.append(random, 1400.0))
