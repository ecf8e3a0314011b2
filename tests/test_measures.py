"""Measures and statistics against answers known by hand, and intervals against the truth."""

import numpy as np
import pytest
from scipy import stats

from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.statistics import Bootstrap, compare, interval, resampled


def test_late_accuracy_is_of_the_second_half():
    nan = np.nan
    correct = np.array([[0, 0, 1, 1, nan], [1, 1, 1, 0, 0], [nan] * 5])
    expected = [1.0, 1 / 3, nan]  # the longer half, if odd
    np.testing.assert_allclose(measures.late_accuracy(correct), expected)


def test_retention_is_relative_to_random():
    kept = measures.retention(np.array([40.0, 10.0, 100.0]), np.array([100.0, 100.0, 10.0]), 10.0)
    np.testing.assert_allclose(kept, [1 / 3, 0.0, np.nan])


def test_area_is_the_mean_along_the_curve():
    # 1 to 0.5 over the first half of the way, 0.5 to 0.25 over the second
    values = [np.array([1.0]), np.array([0.5]), np.array([0.25])]
    assert measures.area([0.0, 0.4, 0.8], values) == pytest.approx(0.5 * 0.75 + 0.5 * 0.375)


def programmed(low=0.2, plateau=0.8, bottom=60, steps=400, onset=200):
    """Reward 1 until the onset, `low` for `bottom` steps, then `plateau`."""
    rewards = np.ones(steps)
    rewards[onset : onset + bottom] = low
    rewards[onset + bottom :] = plateau
    return rewards


def test_recovery_by_hand():
    window = 20
    rewards = np.stack(
        [
            programmed(),
            programmed(plateau=1.0, bottom=20),
            programmed(plateau=0.2),  # nothing comes back
            programmed(low=0.95, plateau=1.0),  # hardly anything drops
        ]
    )
    found = measures.recovery(rewards, 200, window)
    np.testing.assert_allclose(found.before, 1.0)
    np.testing.assert_allclose(found.drop, [0.8, 0.8, 0.8, 0.05])
    np.testing.assert_allclose(found.plateau, [0.8, 1.0, 0.2, 1.0])
    np.testing.assert_allclose(found.fraction, [0.75, 1.0, 0.0, np.nan], atol=1e-12)
    # the first window with at least 18 of its 20 steps on the plateau ends 18 steps after the rise
    np.testing.assert_allclose(found.time, [78, 38, np.nan, np.nan])


def test_recovery_of_a_line():
    # from 0 at the onset, 1 % a step; windows of 10 steps average 4.5 steps back
    rewards = np.concatenate([np.ones(100), np.arange(101) / 100])
    found = measures.recovery(rewards[None], 100, 10)
    lowest, plateau = 0.045, 0.955
    assert found.drop[0] == pytest.approx(1 - lowest)
    assert found.fraction[0] == pytest.approx((plateau - lowest) / (1 - lowest))
    # 0.045 + 0.9 * 0.91 = 0.864 is reached by the window that starts 82 steps after the onset
    assert found.time[0] == 82 + 10


def test_recovery_needs_windows_before_and_after():
    rewards = np.ones((1, 100))
    assert measures.recovery(rewards, 5, 10) is None
    assert measures.recovery(rewards, 81, 10) is None
    assert measures.recovery(rewards, 80, 10) is not None


def test_scores_by_hand():
    runs = np.array([[1.0, 3.0], [4.0, 6.0], [9.0, 13.0]])  # three runs of two episodes
    bootstrap = Bootstrap(3, 2)
    units = bootstrap.of_units(runs)
    score = bootstrap.score(lambda weights: weights @ units)
    assert score["by_run"] == [2.0, 5.0, 11.0]
    assert score["mean"] == pytest.approx(6.0, rel=1e-14)
    assert score["interval"][0] < 2.0 and score["interval"][1] > 11.0  # three seeds tell little
    assert bootstrap.score(lambda weights: weights @ units, (2.0, 11.0))["interval"] == [2.0, 11.0]
    assert score == Bootstrap(3, 2).score(lambda weights: weights @ units)
    # sorted 0 1 2 4 6 7 9 100: a quarter off each end leaves 2 4 6 7
    single = Bootstrap(1, 8)
    episodes = single.of_units(np.array([[100.0, 0, 2, 1, 4, 9, 6, 7]]))
    score = single.score(lambda weights: weights @ episodes)
    assert score["interquartile_mean"] == 19 / 4 and score["by_run"] == [129 / 8]
    assert single.score(lambda weights: weights @ episodes * np.nan) is None


def test_a_ratio_is_of_means_and_has_no_value_for_a_run_without_one():
    bootstrap = Bootstrap(3, 1)
    clean, value = np.array([11.0, 21.0, 0.5]), np.array([6.0, 11.0, 0.0])
    score = bootstrap.score(
        lambda weights: measures.retention(weights @ value, weights @ clean, 1.0)
    )
    assert score["by_run"] == [0.5, 0.5, None]
    assert score["mean"] == pytest.approx((17 / 3 - 1) / (32.5 / 3 - 1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("units", [1, 3])
def test_equal_samples_have_an_interval_without_width(units):
    draws = resampled(units) @ np.full(units, 2.5)
    assert interval(2.5, draws, units) == (2.5, 2.5)


def test_for_many_units_it_is_the_interval_of_the_normal_distribution():
    samples = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    half = 1.96 * samples.std() / np.sqrt(2000)
    low, high = interval(samples.mean(), resampled(2000) @ samples, 2000)
    np.testing.assert_allclose([low, high], samples.mean() + np.array([-half, half]), atol=0.01)


def test_two_policies_compared_by_hand():
    one, other = np.array([3.0, 5.0]), np.array([1.0, 3.0, 4.0])
    difference, wins = compare(one, other)
    assert difference["mean"] == pytest.approx(4 - 8 / 3)
    # 3 beats 1 and ties with 3; 5 beats all
    assert wins["mean"] == pytest.approx((1 + 0.5 + 3) / 6)
    assert wins["mean"] == stats.mannwhitneyu(one, other).statistic / 6
    assert 0 <= wins["interval"][0] <= wins["mean"] <= wins["interval"][1] <= 1
    low, high = difference["interval"]
    assert low < difference["mean"] < high
    np.testing.assert_array_equal(
        measures.probability_of_improvement(one, np.array([3.0, 2.0])), [0.5, 1.0]
    )


@pytest.mark.parametrize(
    ("runs", "episodes", "draw"),
    [
        (1, 20, "normal"),
        (1, 100, "exponential"),
        (3, 20, "normal"),
        (5, 20, "normal"),
        (5, 20, "exponential"),
        (10, 20, "normal"),
    ],
)
def test_intervals_cover_the_truth(runs, episodes, draw):
    """In about 95 % of 1000 simulated evaluations, whose truth is 0; runs differ, and episodes."""
    random = np.random.default_rng(0)
    bootstrap = Bootstrap(runs, episodes)
    covered = 0
    for _ in range(1000):
        between = random.normal(size=(runs, 1)) if runs > 1 else 0.0
        within = random.normal(size=(runs, episodes))
        if draw == "exponential":
            within = random.exponential(size=(runs, episodes)) - 1
        units = bootstrap.of_units(between + within)
        low, high = interval(units.mean(), bootstrap.weights @ units, bootstrap.units)
        covered += low <= 0 <= high
    assert 0.925 <= covered / 1000 <= 0.975, covered
