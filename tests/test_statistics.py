import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikepropamine.statistics import (
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    UNTESTED,
    decisive,
    difference,
    holm,
    interval,
    pooled,
    verdict,
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


def test_a_difference_is_welchs():
    one, other = [1, 2, 3, 4, 5], [3.5, 7, 9, 11, 14.5]
    found, tested = difference(one, other), stats.ttest_ind(one, other, equal_var=False)
    assert found.mean == -6
    assert found.interval == pytest.approx(tested.confidence_interval())
    assert found.p == pytest.approx(tested.pvalue)


def test_the_rank_test_counts_the_ways_to_order_the_runs():
    above = difference([4, 5, 6], [1, 2, 3])
    assert above.rank_p == pytest.approx(2 / 20)  # 1 of C(6, 3) orders, on both sides
    assert above.better == 1.0
    tied = difference([1, 1, 1, 1, 1], [0, 0, 0, 0, 0])
    assert tied.rank_p == pytest.approx(2 / 252)
    assert tied.p is None and decisive(tied) == tied.rank_p
    assert verdict(tied) == HIGHER


def test_pairs_are_compared_with_one_another():
    one, other = [10.0, 20.0, 30.0, 40.0], [9.0, 18.9, 29.1, 39.0]
    found = difference(one, other, paired=True)
    assert found.interval == pytest.approx(interval(np.subtract(one, other)))
    assert verdict(found) == HIGHER and verdict(difference(one, other)) == NO_DIFFERENCE
    assert found.rank_p == pytest.approx(2 / 2**4)  # all four signs alike
    assert difference(one, one, paired=True)[1:] == (None, None, 1.0, 0.5)


@settings(max_examples=25, deadline=None)
@given(SAMPLES, SAMPLES)
def test_turned_round_a_difference_changes_its_sign(one, other):
    there, back = difference(one, other), difference(other, one)
    assert there.mean == pytest.approx(-back.mean)
    assert there.better == pytest.approx(1 - back.better)
    assert there.rank_p == pytest.approx(back.rank_p)
    if there.interval is not None:
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
        assert (there.p < 0.05) == (there.interval[0] > 0 or there.interval[1] < 0)


def test_one_run_is_not_tested():
    for other in ([2.0, 3.0], [1.0, 3.0], [1.0]):
        found = difference([1.0], other)
        assert found.interval is None and found.p is None and found.rank_p > 0.5


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


def test_pooled_tasks_count_in_their_own_units():
    random = np.random.default_rng(0)
    one = {"a": random.normal(3, 1, 40), "b": random.normal(100, 10, 40)}
    other = {"a": random.normal(1, 1, 40), "b": random.normal(100, 10, 40)}
    found = pooled(one, other, {"a": 2.0, "b": 50.0})
    gaps = [np.mean(one[t]) - np.mean(other[t]) for t in "ab"]
    assert found.mean == pytest.approx((gaps[0] / 2 + gaps[1] / 50) / 2)
    error = np.sqrt(2 * (1 / 2**2 + 10**2 / 50**2) / 40) / 2
    assert np.subtract(*found.interval[::-1]) == pytest.approx(
        2 * 1.96 * error, rel=0.2
    )
    assert verdict(found) == HIGHER
    assert pooled(other, one, {"a": 2.0, "b": 50.0}).p < 0.05


def test_the_pooled_interval_of_one_task_is_as_wide_as_welchs_though_runs_are_few():
    one, other = [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]
    found, welch = pooled({"a": one}, {"a": other}, {"a": 1.0}), difference(one, other)
    assert np.ptp(found.interval) == pytest.approx(np.ptp(welch.interval), rel=0.06)
