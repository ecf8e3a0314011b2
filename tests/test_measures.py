"""What is made of episodes, by hand: recovery, retention, lesions and estimates of
policies.
"""

import numpy as np
import pytest
from evaluation_of_arrays import condition, evaluation

from spikepropamine import statistics
from spikepropamine.evaluation.ask.conditions import perturbed
from spikepropamine.evaluation.judge import rewards as measures
from spikepropamine.evaluation.measure import SHARE
from spikepropamine.report.estimates import estimate


def programmed(low=0.2, plateau=0.8, bottom=60, steps=400, onset=200):
    """Reward 1 until the onset, `low` for `bottom` steps, then `plateau`; of one
    episode.
    """
    rewards = np.ones((1, steps))
    rewards[:, onset : onset + bottom] = low
    rewards[:, onset + bottom :] = plateau
    return rewards


def recovered(changed, clean=None, onset=200, window=20, lengths=None):
    """Of rewards [episodes, steps] with a change and without it, with the share that
    comes back.
    """
    clean = np.ones(changed.shape) if clean is None else clean
    lengths = np.full(len(changed), changed.shape[1]) if lengths is None else lengths
    *by_episode, time = measures.recovery(clean, changed, lengths, onset, window)
    before, drop, missing = (values.mean() for values in by_episode)
    fraction = 1 - missing / drop if drop else np.nan
    return [before, drop, missing, fraction, np.nan if time is None else time]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # the first window with 18 of its 20 steps on the plateau ends 18 steps after
        # the rise
        (programmed(), [1, 0.8, 0.2, 0.75, 78]),
        (programmed(plateau=1.0, bottom=20), [1, 0.8, 0, 1, 38]),
        (programmed(plateau=0.2), [1, 0.8, 0.8, 0, np.nan]),  # nothing comes back
        (
            programmed(low=0.95, plateau=1.0),
            [1, 0.05, 0, 1, np.nan],
        ),  # hardly anything drops
        (
            programmed(low=0.5, plateau=0.2),
            [1, 0.5, 0.8, -0.6, np.nan],
        ),  # more is lost in the end
    ],
)
def test_recovery_by_hand(rewards, expected):
    np.testing.assert_allclose(recovered(rewards), expected, atol=1e-12)


def test_what_unperturbed_episodes_do_is_no_drop():
    # episodes that fall at any time earn less and less, and so they do without the
    # change
    lengths = np.array([250, 350, 400])
    fallen = np.where(np.arange(400) < lengths[:, None], 3.0, 0.0)
    before, drop, *_, time = recovered(fallen, fallen, lengths=lengths)
    assert (before, drop) == (3, 0) and np.isnan(time)


def test_what_ends_without_the_change_too_does_not_come_back():
    # half of the episodes would have ended at step 300; with the change all end at once
    lengths = np.array([300, 400, 400])
    clean = np.where(np.arange(400) < lengths[:, None], 3.0, 0.0)
    changed = np.where(np.arange(400) < 200, clean, 0.0)
    found = recovered(changed, clean, lengths=lengths)
    np.testing.assert_allclose(found, [3, 3, 3, 0, np.nan], atol=1e-12)


def test_recovery_needs_windows_before_and_after():
    rewards = np.ones((1, 100))
    lengths = np.array([100])
    found = [
        measures.recovery(rewards, rewards, lengths, onset, 10) for onset in (5, 81, 80)
    ]
    assert [measured is None for measured in found] == [True, True, False]


@pytest.mark.parametrize("shape", [(1, 8), (8, 1)])
def test_units_without_a_value_are_as_if_they_were_not_there(shape):
    """Of episodes of one run, and of runs, in which there was nothing to measure."""
    values = np.array([1.0, np.nan, 3.0, np.nan, 2.0, 7.0, np.nan, np.nan])
    found = estimate(values.reshape(shape))
    known = values[np.isfinite(values)]
    assert found.mean == pytest.approx(known.mean())
    assert found.interval == pytest.approx(statistics.interval(known))
    if shape[0] > 1:
        assert [x is None for x in found.by_run] == np.isnan(values).tolist()
    assert estimate(np.full(shape, np.nan)) is None


def test_a_run_counts_once_however_many_of_its_episodes_have_a_value():
    values = np.zeros((3, 4))
    values[0] = [1, np.nan, np.nan, np.nan]
    found = estimate(values)
    assert found.mean == pytest.approx(1 / 3) and found.by_run == (1, 0, 0)


def test_an_interval_of_a_share_ends_where_shares_do():
    low, high = estimate(np.array([[1.0, 1, 1, 0.9]]), SHARE).interval
    assert low < 0.975 < high == 1
    assert (
        estimate(np.ones((5, 3)), SHARE).interval is None
    )  # equal runs tell nothing of others


EPISODES = np.array([-0.01, 0, 0, 0, 0.01])
RUNS = np.array([0.9, 1.0, 1.1])[:, None] + EPISODES


def earning(policies=("own",), **returns):
    """An evaluation of three runs of each policy, whose returns are these: "a_off" is
    the condition a with plasticity off. Random actions earn 0.
    """
    conditions = []
    measured = {}
    more = {
        "a": {"severity": 0.5, "split": "train"},
        "b": {"severity": 1.0, "split": "held-out"},
    }
    for name in returns:
        key, _, lesion = name.partition("_")
        label = "mass" if key in more else key
        conditions.append(condition(key, label, lesion or None, **more.get(key, {})))
    for index, policy in enumerate(policies):
        measured[policy, None, "random_return"] = np.tile(EPISODES, (3, 1))
        for c, value in zip(conditions, returns.values()):
            value = np.broadcast_to(value, len(policies))[index]
            measured[policy, c["key"], "return"] = value * RUNS
            measured[policy, c["key"], "length"] = np.ones((3, 5))
    return evaluation(conditions, measured)


def test_retention_is_of_each_run_and_averaged_split_by_split():
    found = earning(clean=10, a=9, b=5, clean_off=8, a_off=7, b_off=3)
    for lesion, expected in ((None, (0.7, 0.9, 0.5)), ("off", (0.5, 0.7, 0.3))):
        scores = [
            found.overall("own", lesion, split)
            for split in ("all", "train", "held-out")
        ]
        assert [score.mean for score in scores] == pytest.approx(expected)
    runs = {"clean": np.array([[1.0], [3], [8]]) + EPISODES}
    runs["heavy"] = runs["clean"] * np.array([[0.2], [0.5], [0.8]])
    measured = {("own", key, "return"): values for key, values in runs.items()}
    measured["own", None, "random_return"] = np.tile(EPISODES, (3, 1))
    kept = evaluation([condition(), condition("heavy")], measured).overall("own")
    assert kept.by_run == pytest.approx((0.2, 0.5, 0.8)) and kept.mean == pytest.approx(
        0.5
    )
    assert kept.interval == pytest.approx(statistics.interval([0.2, 0.5, 0.8]))


def test_a_curve_over_severities_begins_at_the_clean_task_with_the_same_lesion():
    found = earning(clean=10, a=8, b=4, clean_off=9, a_off=6, b_off=3)
    for lesion, area in (
        (None, 0.5 * 0.9 + 0.5 * 0.6),
        ("off", 0.5 * 0.75 + 0.5 * 0.45),
    ):
        keys = found.severities("own", "mass", lesion)
        assert list(keys) == [0, 0.5, 1]
        assert found.area("own", keys).mean == pytest.approx(area)


def test_what_a_lesion_takes_away_by_hand():
    returns = {"clean": [[3.0, 5.0, 7.0, 9.0]], "clean [off]": [[3.0, 2.0, 8.0, 1.0]]}
    correct = {
        "clean": [0.0, 0, 1, 1],
        "clean [off]": [1.0, 1, 0, 0.5],
    }  # the late half counts
    measured = {("own", key, "return"): values for key, values in returns.items()}
    measured |= {("own", key, "length"): np.ones((1, 4)) for key in returns}
    measured |= {
        ("own", key, "correct"): np.tile(of, (1, 4, 1)) for key, of in correct.items()
    }
    (part,) = evaluation([condition(), condition(lesion="off")], measured).lesioned(
        "own"
    )
    assert part.returns.mean == 2.5 and part.returns.better == (0.5 + 1 + 0 + 1) / 4
    assert part.late_accuracy.mean == 0.75 and not part.identical
    for measure in ("return", "length", "correct"):
        same = {("own", key, m): measured["own", "clean", m]
                for key in returns for m in ("return", "length",
                                             "correct")}  # fmt: skip
        (part,) = evaluation([condition(), condition(lesion="off")], same).lesioned(
            "own"
        )
        assert part.identical
        same["own", "clean [off]", measure] = (
            np.asarray(same["own", "clean", measure]) + 1
        )
        (part,) = evaluation([condition(), condition(lesion="off")], same).lesioned(
            "own"
        )
        assert not part.identical


def test_lesioned_conditions_are_no_part_of_a_comparison_of_policies():
    found = earning(("more", "less"), clean=10, a=(9, 5), clean_off=8, a_off=(1, 5))
    gaps = {part.measure: part.difference.mean for part in found.comparisons}
    assert gaps["retention"] == pytest.approx(0.4) and gaps["return"] == pytest.approx(
        0
    )


def test_an_episode_without_a_value_keeps_its_place():
    """Else those that follow it would be compared with other episodes of another
    policy.
    """
    right = np.array([[[1.0], [0.0], [1.0], [0.0], [1.0]]])
    fewer = right.copy()
    fewer[0, 1] = np.nan  # it ended before anything was asked
    found = evaluation([condition()], {("a", "clean", "correct"): right,
                                       ("b", "clean", "correct"): fewer})  # fmt: skip
    (comparison,) = found.comparisons
    assert comparison.difference.mean == 0 and comparison.difference.better == 0.5


def test_a_policy_that_never_answers_is_compared_by_its_returns():
    names = ("a", "b")
    values = np.arange(3.0)
    measured = {
        (name, "clean", "return"): np.stack([values, values + 1]) for name in names
    }
    answers = np.ones((2, 3, 4))
    measured |= {
        ("a", "clean", "correct"): answers,
        ("b", "clean", "correct"): answers * np.nan,
    }
    (comparison,) = evaluation([condition()], measured).comparisons
    assert comparison.measure == "return"


def test_a_run_without_a_drop_does_not_hide_that_of_another():
    one = changing(2.0, 0.5)
    two = changing(2.0, 0.5, more=np.full((1, 20), np.nan))
    assert one.fraction.mean == two.fraction.mean == pytest.approx(0.75)


def test_a_run_that_loses_nothing_has_no_share_of_it():
    found = changing(2.0, 0.5, more=np.linspace(-0.01, 0.02, 20)[None])
    assert found.drop.by_run[1] == pytest.approx(0.005) and not found.fraction


def changing(lost, left, before=4.0, more=None):
    """A run of twenty episodes that loses so much when the world changes."""
    key = "changed"
    spread = np.linspace(-1, 1, 20)[None]
    measured = {
        ("own", "clean", "return"): 100 + spread,
        ("own", key, "return"): 50 + spread,
    }
    measured |= {("own", key, "reward_before"): before + 0 * spread,
                 ("own", key, "drop"): lost + spread,
                 ("own", key, "missing_at_end"): left + spread,
                 ("own", key, "recovery_time"): [40.0]}  # fmt: skip
    if more is not None:  # a second run, without values where there is no window
        measured = {name: np.concatenate([values,
                                          values if name[2] == "return" else more])
                    if name[2] != "recovery_time" else [40.0, np.nan]
                    for name, values in measured.items()}  # fmt: skip
    return evaluation([condition(), condition(key, onset=200)], measured).change(
        "own", key
    )


@pytest.mark.parametrize(
    ("lost", "left", "fraction", "time"),
    [
        (2.0, 0.5, 0.75, 40),
        (2.0, 2.0, 0.0, None),
        (0.1, 0.0, None, None),
        (0.3, 0.0, None, None),
    ],
)
def test_a_drop_that_is_not_shown_or_small_has_no_recovery(lost, left, fraction, time):
    found = changing(lost, left)
    assert found.drop.mean == pytest.approx(lost)
    share = found.fraction
    steps = found.recovery_time
    assert (share and share.mean) == (
        fraction and pytest.approx(fraction)
    ) or fraction == 0
    assert (steps and steps.mean) == time


def test_a_change_that_episodes_draw_is_waited_for():
    text = "motor_signs=seen@change(40..140, 160)"
    drawn = perturbed("seen", "seen", text)
    assert (drawn.last_onset, drawn.freeze_at(200)) == (140, 140)
    either = perturbed("x", "x", "mass=2@40 | mass=2@150 + obs_noise=0.1@170 | none")
    assert (either.last_onset, either.freeze_at(200)) == (150, 150)


@pytest.mark.parametrize(
    ("text", "onset", "stays"),
    [
        ("mass=2@60", 60, True),
        ("mass=2@60 + obs_noise=0.1@60", 60, True),
        ("mass=2@60 | gravity=2@60", 60, True),
        ("mass=2@60 | gravity=2@80", 60, False),  # not everywhere at one step
        ("mass=2@60 | none", 60, False),
        ("mass=2", None, False),
        ("none", None, False),
        ("mass=2@ramp(30, 70) + obs_noise=0.1@40", 30, True),
        ("mass=2@50 + obs_noise=0.1", None, False),
    ],
)
def test_recovery_is_of_what_changes_once_and_for_good(text, onset, stays):
    condition = perturbed("it", "it", text)
    assert (condition.onset, condition.changes_for_good) == (onset, stays)
