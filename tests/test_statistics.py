import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from spikepropamine import power, ranks
from spikepropamine.statistics import (
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    UNTESTED,
    decisive,
    difference,
    equivalence,
    holm,
    interval,
    pooled,
    verdict,
    welch,
)  # fmt: skip

SAMPLES = st.lists(
    st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=6
)


def test_the_interval_of_a_mean_is_students():
    # mean 3, standard error sqrt(2.5 / 5), t(0.975, 4) = 2.776445
    assert interval([1, 2, 3, 4, 5]) == pytest.approx(
        (3 - 1.963243, 3 + 1.963243), abs=1e-5
    )


@pytest.mark.parametrize("values", [[7.0], [0.1 + 0.2, 0.3, 0.3]])
def test_values_that_do_not_vary_have_no_interval(values):
    assert interval(values) is None


@pytest.mark.parametrize(("count", "tests"), [(2, False), (3, False), (21, True)])
def test_a_difference_of_few_or_of_many_runs_is_welchs(count, tests):
    random = np.random.default_rng(0)
    one = random.normal(size=count)
    other = random.normal(1, 3, size=count)
    found = difference(one, other)
    tested = stats.ttest_ind(one, other, equal_var=False)
    assert found.interval == pytest.approx(tested.confidence_interval())
    assert welch(one, other)[1] == pytest.approx(tested.pvalue)
    assert found.p == (pytest.approx(tested.pvalue) if tests else None)


def test_three_runs_are_never_significant():
    found = difference([1.0, 1.01, 1.02], [0.0, 0.01, 0.02])
    assert found.interval[0] > 0.9
    assert found.p is None and found.rank_p is None and verdict(found) == UNTESTED


def test_the_bootstrap_t_counts_every_resample():
    one = np.array([1.0, 2.0, 4.0, 9.0])
    other = np.array([3.0, 3.5, 4.0, 8.0])

    def moments(sample):
        every = np.array(list(itertools.product(sample - sample.mean(), repeat=4)))
        return every.mean(axis=1), every.var(axis=1, ddof=1) / 4

    (first, first_error), (second, second_error) = moments(one), moments(other)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.subtract.outer(first, second) / np.sqrt(
            np.add.outer(first_error, second_error)
        )  # a floor of the errors makes those of equal values finite, but large
    error = np.sqrt(one.var(ddof=1) / 4 + other.var(ddof=1) / 4)
    statistic = (one.mean() - other.mean()) / error  # below 0
    of_size = np.mean(np.abs(resampled) >= -statistic - 1e-9)
    on_side = np.mean(resampled <= statistic + 1e-9)
    found = difference(one, other)
    assert found.p == pytest.approx(max(of_size, 2 * on_side), abs=1e-4)
    for aside in (0.999, 1.001):  # just inside and just outside of the interval
        moved = one - found.mean + aside * (found.mean - found.interval[0])
        assert (difference(moved, other).p < 0.05) == (aside > 1)


def test_runs_that_are_nearly_all_equal_can_differ_significantly():
    found = difference([1.0, 1.0, 1.0, 1.0, 0.99], [0.5, 0.5, 0.5, 0.5, 0.51])
    assert verdict(found) == HIGHER and found.interval[0] > 0.3
    same = difference([1.0, 1.0, 1.0, 1.0, 0.99], [1.0] * 5)
    assert verdict(same) == NO_DIFFERENCE and np.isfinite(same.interval).all()


def test_the_order_of_runs_does_not_matter():
    random = np.random.default_rng(0)
    one = random.normal(size=10)
    other = random.normal(size=9)
    found = difference(one, other)
    turned = difference(one[::-1], other[::-1])
    assert (turned.p, turned.interval) == (found.p, found.interval)
    back = difference(other, one)
    assert back.p == found.p
    assert back.interval == (-found.interval[1], -found.interval[0])


def test_the_rank_test_counts_the_ways_to_order_the_runs():
    above = difference([4, 5, 6, 7], [0, 1, 2, 3])
    assert above.rank_p == pytest.approx(2 / 70)  # 1 of C(8, 4) orders, on both sides
    assert above.better == 1.0
    tied = difference([1, 1, 1, 1, 1], [0, 0, 0, 0, 0])
    assert tied.rank_p == pytest.approx(2 / 252)
    assert tied.p is None and decisive(tied) == tied.rank_p
    assert verdict(tied) == HIGHER


def test_pairs_are_compared_with_one_another():
    one = [10.0, 20.0, 30.0, 40.0]
    other = [9.0, 18.9, 29.1, 39.0]
    found = difference(one, other, paired=True)
    many = np.tile(one, 6), np.tile(other, 6)
    alone = difference(*many, paired=True)
    assert alone.interval == pytest.approx(interval(np.subtract(*many)))
    assert verdict(found) == HIGHER and verdict(difference(one, other)) == NO_DIFFERENCE
    assert found.rank_p == pytest.approx(2 / 2**4)  # all four signs alike
    assert difference(one, one, paired=True)[1:5] == (None, None, 1.0, 0.5)


@settings(max_examples=25, deadline=None)
@given(SAMPLES, SAMPLES)
def test_turned_round_a_difference_changes_its_sign(one, other):
    assume(sorted(one) != sorted(other))
    there = difference(one, other)
    back = difference(other, one)
    assert there.mean == pytest.approx(-back.mean)
    assert there.better == pytest.approx(1 - back.better)
    assert there.rank_p == pytest.approx(back.rank_p)
    if there.p is not None:
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
        assert (there.p < 0.05) == (there.interval[0] > 0 or there.interval[1] < 0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=5),
    st.lists(st.integers(0, 3), min_size=4, max_size=5),
)
def test_ranks_with_ties_are_those_of_all_ways_to_deal_them_out(one, other):
    ranked = stats.rankdata([*one, *other])
    ways = itertools.combinations(ranked, len(one))
    sums = np.array([sum(way) for way in ways])
    far = np.abs(sums - sums.mean()) >= abs(sum(ranked[: len(one)]) - sums.mean())
    assert ranks.rank_sum_p(np.array(one), np.array(other)) == pytest.approx(far.mean())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=4, max_size=7))
def test_signed_ranks_are_those_of_all_ways_to_sign_them(differences):
    known = np.array([value for value in differences if value])
    ranked = stats.rankdata(np.abs(known))
    signs = np.array(list(itertools.product([0, 1], repeat=len(known))))
    sums = signs @ ranked
    far = np.abs(sums - sums.mean()) >= abs(ranked[known > 0].sum() - sums.mean())
    found = ranks.signed_rank_p(np.array(differences))
    assert found == pytest.approx(far.mean())


def test_one_run_is_not_tested():
    for other in ([2.0, 3.0], [1.0, 3.0], [1.0]):
        found = difference([1.0], other)
        assert found.interval is None and found.p is None and found.rank_p is None


def test_the_probability_of_improvement_has_an_interval_with_a_width():
    low, high = difference([4, 5, 6, 7, 8], [0, 1, 2, 3, 3.5]).better_interval
    assert 0.5 < low < 0.75 and high == 1
    low, high = difference([1, 2, 3, 4], [1, 2, 3, 4]).better_interval
    assert low == pytest.approx(1 - high) and low < 0.25
    low, high = difference([2, 3, 4, 5], [1, 1, 1, 1], paired=True).better_interval
    assert low == pytest.approx(1 / (1 + 1.96**2 / 4), abs=0.01) and high == 1


def test_values_that_are_equal_but_for_rounding_are_ties():
    """0.1 + 0.2 is more than 0.3 by the last digit."""
    one, other = [0.1 + 0.2, 0.5, 0.7, 0.9], [0.3, 0.5, 0.7, 0.9]
    for paired in (False, True):
        found = difference(one, other, paired)
        exact = difference(other, other, paired)
        assert (found.better, found.rank_p) == (exact.better, exact.rank_p)
        assert (found.better, found.rank_p) == (0.5, 1.0)
    # sizes of differences are ties, too: 0.4 - 0.3 is less than 0.1
    pairs = [0.4, 0.1, 0.0, 0.7, 1.0], [0.3, 0.0, 0.1, 0.5, 0.6]
    whole = [4, 1, 0, 7, 10], [3, 0, 1, 5, 6]
    assert difference(*pairs, paired=True).rank_p == pytest.approx(
        difference(*whole, paired=True).rank_p
    )


def test_equivalence_needs_a_small_difference_and_a_small_error():
    near = [1.0, 1.01, 0.99, 1.0, 1.02]
    found = equivalence(near, [1.0, 1.0, 1.01, 0.99, 1.0], margin=0.05)
    assert found.shown and max(map(abs, found.interval)) < 0.05
    assert not equivalence(near, [1.3, 0.7, 1.0, 1.1, 0.9], margin=0.05).shown
    assert not equivalence(near, [value + 0.1 for value in near], margin=0.05).shown
    assert equivalence(near[:3], near[:3], margin=0.05) is None


def test_more_contrasts_and_fewer_runs_see_less():
    assert power.visible(3, 10, 1) is None
    assert power.visible(10, 10, 1) < power.visible(5, 5, 1) < power.visible(5, 5, 4)
    assert power.visible(10, 10, 1) == pytest.approx(1.32, abs=0.25)  # Student's: 1.32
    # more contrasts than are simulated at once
    assert power.visible(5, 5, 64) <= power.visible(5, 5, 65)
    assert power.visible(30, 30, 1) == pytest.approx(0.736, abs=0.03)  # Student's


def test_few_runs_beside_many_see_less_than_normal_errors_would():
    # Welch's error has about 3 degrees of freedom, that of normal quantiles infinitely
    # many: they promise 1.5
    assert power.visible(4, 30, 1) == power.visible(30, 4, 1) > 1.8


def test_contrasts_that_are_not_tested_cost_no_power_and_are_counted():
    alone = power.sentence([[(5, 5)]])
    assert f"differences of {power.visible(5, 5, 1):.1f} standard deviations" in alone
    beside = power.sentence([[(5, 5), (3, 5), (5, 1)], [(5, 2)]])
    assert beside == (
        f"{alone} 3 of 4 contrasts are not tested: a policy has fewer than 4 runs."
    )
    assert power.sentence([[(5, 5)], [(3, 5)]]) == (
        f"{alone} 1 of 2 contrasts is not tested: a policy has fewer than 4 runs."
    )
    assert power.sentence([[(5, 5)] * 4]) != power.sentence([[(5, 5)]] * 4) == alone


def test_a_verdict_follows_the_p_value_that_is_given():
    found = difference([1, 2, 3, 4, 5], [11, 12, 13, 14, 15])
    assert verdict(found) == LOWER
    assert verdict(found, p=0.06) == NO_DIFFERENCE
    assert verdict(found._replace(p=None, rank_p=None)) == UNTESTED


def test_holms_correction_by_hand():
    assert holm([0.01, None, 0.04, 0.03, 0.9]) == pytest.approx(
        [0.04, None, 0.09, 0.09, 0.9]
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_corrected_p_is_no_smaller_and_keeps_its_rank(p_values):
    corrected = np.array(holm(p_values))
    assert (corrected >= p_values).all() and (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()


def test_pooled_tasks_count_in_their_own_units_and_are_sampled_too():
    one = {"a": [1.0, 3.0], "b": [110.0], "c": [4.0], "d": [7.0], "e": [5.0, 5.0]}
    other = {"a": [1.0], "b": [100.0, 100.0], "c": [3.0], "d": [7.5], "e": [4.0]}
    unit = {"a": 2.0, "b": 50.0, "c": 1.0, "d": 1.0, "e": 10.0}
    found = pooled(one, other, unit)
    gaps = [0.5, 0.2, 1.0, -0.5, 0.1]
    assert found.mean == pytest.approx(np.mean(gaps))
    assert found.interval == pytest.approx(difference(gaps, [0] * 5, True).interval)
    assert found.better == 0.8  # of the tasks
    more = pooled({t: one[t] * 9 for t in one}, {t: other[t] * 9 for t in one}, unit)
    assert more.interval == pytest.approx(found.interval)  # runs are not the units
