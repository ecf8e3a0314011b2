"""What is made of episodes, by hand: recovery, retention, lesions and comparisons of policies."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.judge import measures, summarize
from spikepropamine.evaluation.judge.group import Group
from spikepropamine.evaluation.judge.statistics import (
    SHARE,
    Units,
    interval,
    wilson,
)


def test_late_accuracy_is_of_the_second_half():
    nan = np.nan
    correct = np.array([[0, 0, 1, 1, nan], [1, 1, 1, 0, 0], [nan] * 5])
    expected = [1.0, 1 / 3, nan]  # the longer half, if odd
    np.testing.assert_allclose(measures.late_accuracy(correct, 5), expected)


def test_late_trials_are_the_same_where_episodes_end_early():
    right_at_first = np.array([[1.0, 1, 0, 0]])
    assert np.isnan(measures.late_accuracy(right_at_first, 10)).all()
    np.testing.assert_allclose(measures.late_accuracy(right_at_first, 6), 0.0)


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


def recovered(rewards, clean, onset, window, running=None):
    """Of rewards [K, T] with a change and without it."""
    running = np.ones(rewards.shape) if running is None else running
    missing = np.where(running, clean - rewards, 0.0)
    return measures.recovery(missing, np.broadcast_to(clean, rewards.shape), running, onset, window)


def test_recovery_by_hand():
    window = 20
    rewards = np.stack(
        [
            programmed(),
            programmed(plateau=1.0, bottom=20),
            programmed(plateau=0.2),  # nothing comes back
            programmed(low=0.95, plateau=1.0),  # hardly anything drops
            programmed(low=0.5, plateau=0.2),  # more is lost in the end
        ]
    )
    found = recovered(rewards, 1.0, 200, window)
    np.testing.assert_allclose(found.before, 1.0)
    np.testing.assert_allclose(found.drop, [0.8, 0.8, 0.8, 0.05, 0.5])
    np.testing.assert_allclose(found.left, [0.2, 0.0, 0.8, 0.0, 0.8], atol=1e-12)
    np.testing.assert_allclose(found.fraction, [0.75, 1.0, 0.0, np.nan, -0.6], atol=1e-12)
    # the first window with at least 18 of its 20 steps on the plateau ends 18 steps after the rise
    np.testing.assert_allclose(found.time, [78, 38, np.nan, np.nan, np.nan])


def test_recovery_of_a_line():
    # from 0 at the onset, 1 % a step; windows of 10 steps average 4.5 steps back
    rewards = np.concatenate([np.ones(100), np.arange(101) / 100])
    found = recovered(rewards[None], 1.0, 100, 10)
    most, left = 1 - 0.045, 1 - 0.955
    assert found.drop[0] == pytest.approx(most)
    assert found.fraction[0] == pytest.approx(1 - left / most)
    # 0.045 + 0.9 * 0.91 = 0.864 is reached by the window that starts 82 steps after the onset
    assert found.time[0] == 82 + 10


def test_what_unperturbed_episodes_do_is_no_drop():
    # episodes that fall at any time earn less and less, and so they do without the change
    fallen = np.where(np.arange(400) < np.array([[250], [350], [400]]), 3.0, 0.0)
    found = recovered(fallen, fallen, 200, 20)
    np.testing.assert_array_equal(found.drop, 0)
    assert np.isnan(found.fraction).all() and np.isnan(found.time).all()


def test_what_ends_without_the_change_too_does_not_come_back():
    # half of the episodes would have ended at step 300; with the change all end at once
    running = (np.arange(400) < np.array([[300], [400]])).mean(axis=0, keepdims=True)
    clean = 3.0 * running
    found = recovered(np.where(np.arange(400) < 200, clean, 0.0), clean, 200, 20, running)
    np.testing.assert_allclose([found.drop, found.left], 3.0)
    np.testing.assert_allclose(found.fraction, 0, atol=1e-12)


def test_recovery_needs_windows_before_and_after():
    rewards = np.ones((1, 100))
    assert recovered(rewards, 1.0, 5, 10) is None
    assert recovered(rewards, 1.0, 81, 10) is None
    assert recovered(rewards, 1.0, 80, 10) is not None


def test_a_ratio_is_of_means_and_has_no_value_for_a_run_without_one():
    units = Units(3, 1)
    clean, value = np.array([11.0, 21.0, 0.5]), np.array([6.0, 11.0, 0.0])
    score = units.score(lambda weights: measures.retention(weights @ value, weights @ clean, 1.0))
    assert score["by_run"] == [0.5, 0.5, None]
    assert score["mean"] == pytest.approx((17 / 3 - 1) / (32.5 / 3 - 1))


def test_all_right_is_not_certainty():
    right = np.ones(20)
    score = Units(1, 20).score(lambda weights: weights @ right, (0.0, 1.0))
    assert score["interval"] == pytest.approx([20 / (20 + stats.norm.ppf(0.975) ** 2), 1.0])
    score = Units(1, 20).score(lambda weights: weights @ (right * 0), (0.0, 1.0))
    assert score["interval"][0] == 0 and 0.1 < score["interval"][1] < 0.2
    group = Group.__new__(Group)
    group.units = Units(1, 20)
    answered = np.where(np.arange(20) < 3, 0.0, np.nan)[None]  # three tell less than twenty
    assert group.score(answered, SHARE)["interval"] == wilson(0.0, 3)
    answered[0, 0] = np.nan
    assert group.score(answered, SHARE)["interval"] is None  # and two nothing


@pytest.mark.parametrize(("reward", "end"), [(1.0, 500.0), (-2.0, 0.0), (0.0, None)])
def test_a_return_ends_at_the_horizon_where_every_step_earns_the_same(reward, end):
    length = np.array([500, 500, 420, 499, 500])
    rewards = reward * (np.arange(500) < length[:, None])
    outcome = {"rewards": rewards, "length": length, "return": rewards.sum(axis=1)}

    def found():
        group = Group.__new__(Group)
        group.units, group.members = Units(1, 5), [0]
        task = SimpleNamespace(horizon=500, return_range=None)
        group.evaluation = SimpleNamespace(task=task, outcomes=[{"clean": outcome}])
        return group.mean_return("clean")["interval"]

    if end is None:
        assert found() is None
        return
    high = found()[1]
    assert high == end if reward > 0 else high < end
    outcome["rewards"] = rewards.copy()
    outcome["rewards"][0, 0] += 0.5  # so that nobody knows what a step can earn
    assert found()[1] > 500 if reward > 0 else found()[1] < 0


def group_of(rewards: dict[str, np.ndarray], random=0.0) -> Group:
    """A policy of which the rewards [runs, episodes, steps] are known, by condition."""
    group = Group.__new__(Group)
    runs, episodes, horizon = next(iter(rewards.values())).shape
    outcomes = [
        {
            key: {
                "rewards": r[run],
                "return": r[run].sum(axis=1),
                "length": np.full(episodes, horizon),
            }
            for key, r in rewards.items()
        }
        for run in range(runs)
    ]
    group.units, group.members, group.random = Units(runs, episodes), list(range(runs)), random
    group.conditions = [
        Condition(key, key, key, "" if key == "clean" else "mass=2@200", onset=onset)
        for key, onset in zip(rewards, (None, 200))
    ]
    task = SimpleNamespace(horizon=horizon, window=20)
    group.evaluation = SimpleNamespace(task=task, outcomes=outcomes)
    group.learned = True
    return group


def test_a_comparison_of_retention_is_one_of_what_each_run_keeps():
    clean = np.array([100.0, 200.0, 300.0, 400.0, 1000.0])[:, None, None]
    some, others = (
        group_of({"clean": clean, "heavy": clean * kept}, random=0.0) for kept in (0.9, 0.5)
    )
    found = {c["measure"]: c for c in summarize._comparisons({"a": some, "b": others})}
    kept = found["retention"]
    assert kept["difference"]["mean"] == pytest.approx(0.4)
    assert kept["probability_of_improvement"]["mean"] == 1
    # the one with the better run on average, the other in most runs
    unlike = clean * np.array([0.9, 0.9, 0.9, 0.9, 0.3])[:, None, None]
    found = summarize._comparisons({
        "a": group_of({"clean": clean, "heavy": unlike}), "b": others,
    })  # fmt: skip
    (kept,) = [c for c in found if c["measure"] == "retention"]
    assert kept["probability_of_improvement"]["mean"] == pytest.approx(0.8)


def test_the_difference_of_what_is_kept_is_that_of_what_is_reported():
    clean = np.array([100.0, 200.0, 300.0, 400.0, 1000.0])[:, None, None]
    kept = [
        np.array(shares)[:, None, None]
        for shares in ([1, 0.9, 0.9, 0.7, 0.1], [0.5, 0.4, 0.5, 0.6, 0.5])
    ]
    pair = [group_of({"clean": clean, "heavy": clean * share}, random=0.0) for share in kept]
    reported = [group.mean_retention(["heavy"])["mean"] for group in pair]
    found = {c["measure"]: c for c in summarize._comparisons(dict(zip("ab", pair)))}
    difference = found["retention"]["difference"]
    assert difference["mean"] == pytest.approx(reported[0] - reported[1])
    assert difference["interval"][0] < difference["mean"] < difference["interval"][1]


@pytest.mark.parametrize("together", [0.0, 0.9])
def test_of_one_run_each_it_is_as_often_wrong_as_it_may_be(together):
    """Whether or not what an episode earns when perturbed goes with what it earns when not."""
    random = np.random.default_rng(0)

    def run():
        both, alone = random.standard_normal((2, 2, 50))
        noise = together * both[0] + np.sqrt(1 - together**2) * alone
        clean, heavy = 1000 + 400 * both[0], 700 + 300 * noise[0]
        return group_of({"clean": clean[None, :, None], "heavy": heavy[None, :, None]}, random=0.0)

    told = 0
    for _ in range(200):
        found = summarize._comparisons({"a": run(), "b": run()})
        (kept,) = [c for c in found if c["measure"] == "retention"]
        low, high = kept["difference"]["interval"]
        told += not low <= 0 <= high
    assert 1 <= told <= 20


@pytest.mark.parametrize("shape", [(1, 8), (8, 1)])
def test_units_without_a_value_are_as_if_they_were_not_there(shape):
    """Of episodes, and of runs, in which there was nothing to measure."""
    group = Group.__new__(Group)
    values = np.array([1.0, np.nan, 3.0, np.nan, 2.0, 7.0, np.nan, np.nan])
    group.units = Units(*shape)
    found = group.score(values.reshape(shape))
    known = values[np.isfinite(values)]
    assert found["mean"] == pytest.approx(known.mean())
    assert found["interval"] == pytest.approx(interval(known.mean(), known))
    ones = np.ones(shape)
    assert group.ratio(values.reshape(shape), ones)["interval"] == pytest.approx(found["interval"])
    if shape[0] > 1:
        assert [x is None for x in found["by_run"]] == np.isnan(values).tolist()
    values[[0, 2]] = np.nan
    for measure in (group.score(values.reshape(shape)), group.ratio(values.reshape(shape), ones)):
        assert measure["mean"] == pytest.approx(4.5) and measure["interval"] is None  # two are few
    assert group.score(np.full(shape, np.nan)) is None


def test_the_mean_of_runs_is_that_of_each_however_many_of_its_episodes_have_a_value():
    group = Group.__new__(Group)
    group.units = Units(3, 4)
    values = np.zeros((3, 4))
    values[0] = [1, np.nan, np.nan, np.nan]
    found = group.score(values)
    assert found["mean"] == pytest.approx(1 / 3) and found["by_run"] == [1, 0, 0]


def test_a_curve_of_what_is_too_short_has_no_points():
    assert not len(measures.curve_points(0)) and not len(measures.curve_points(-3))
    assert measures.curve_points(1).tolist() == [0]


def test_one_seed_against_several_is_no_pair_of_one_against_one():
    random = np.random.default_rng(0)
    once = group_of({"clean": 100 + random.normal(size=(1, 20, 1))})
    several = np.array([120.0, 120, 120, 120, 0])[:, None, None] * np.ones((5, 20, 1))
    pair = {"a": once, "b": group_of({"clean": several + random.normal(size=(5, 20, 1))})}
    (found,) = summarize._comparisons(pair)
    better = found["probability_of_improvement"]
    assert better["mean"] == pytest.approx(0.2)
    assert better["interval"] == wilson(better["mean"], 5)  # the hundred episodes are of five runs
    low, high = found["difference"]["interval"]
    assert low < 0 < high  # the five tell little of how others would turn out


def test_a_change_that_does_nothing_is_seldom_called_a_drop():
    random = np.random.default_rng(0)
    shown = 0
    for _ in range(200):
        clean, changed = random.normal(size=(2, 1, 20, 1000))
        group = group_of({"clean": clean, "changed": changed})
        shown += summarize._recovery(group, group.conditions[1])["fraction"] is not None
    assert shown <= 0.05 * 200


def test_a_loss_for_good_is_seldom_said_to_come_back():
    random = np.random.default_rng(0)
    back = 0
    for _ in range(200):
        clean, changed = random.normal(4, 1, size=(2, 1, 20, 1000))
        changed[:, :, 200:] -= 1
        group = group_of({"clean": clean, "changed": changed})
        back += summarize._recovery(group, group.conditions[1])["fraction"]["interval"][0] > 0
    assert back <= 0.05 * 200


def test_a_drop_that_is_shown_to_be_small_is_told_as_such():
    changed = 5 - (0.3 + 0.01 * np.arange(10)[None, :, None]) * (np.arange(600) >= 200)
    group = group_of({"clean": np.full((1, 10, 600), 5.0), "changed": changed})
    found = summarize._recovery(group, group.conditions[1])
    assert found["drop"]["interval"][0] > 0 and found["fraction"] is None


def test_robots_that_fall_are_not_said_to_recover():
    """Without the change they fall too, later."""
    steps, ends = np.arange(600), np.linspace(400, 600, 20)[None, :, None]
    clean = np.where(steps < ends, 5.0, 0.0)
    group = group_of({"clean": clean, "changed": np.where(steps < 210, clean, 0.0)})
    for outcome in group.evaluation.outcomes:
        outcome["clean"]["length"] = ends[0, :, 0]
    found = summarize._recovery(group, group.conditions[1])
    means = [found[name]["mean"] for name in ("drop", "left", "fraction")]
    assert means == pytest.approx([2.5, 5, -1]) and found["time"] is None


def with_off(group: Group, **conditions: dict) -> Group:
    """The group, judged in these conditions and the clean one, each also with plasticity off."""
    clean = Condition("clean", "clean", "clean")
    others = [
        Condition(key, key, key, f"mass=2@{about.get('onset', 0)}", **about)
        for key, about in conditions.items()
    ]
    off = LESIONS["off"]
    group.conditions = [clean, *others]
    group.conditions += [replace(c, key=f"{c.key} [off]", lesion=off) for c in group.conditions]
    return group


def earning(**returns: float) -> dict[str, np.ndarray]:
    """Rewards of three runs of one episode of one step, by condition; "_off" stands for [off]."""
    runs = np.array([0.9, 1.0, 1.1])[:, None, None]
    return {key.replace("_off", " [off]"): value * runs for key, value in returns.items()}


def test_what_a_lesion_takes_away_by_hand():
    returns = {"clean": [3.0, 5.0, 7.0, 9.0], "clean [off]": [3.0, 2.0, 8.0, 1.0]}
    correct = {"clean": [0.0, 0, 1, 1], "clean [off]": [1.0, 1, 0, 0.5]}  # the late half counts
    group = with_off(group_of({k: np.array(v)[None, :, None] for k, v in returns.items()}))
    group.evaluation.trials = 4
    for key, outcome in group.evaluation.outcomes[0].items():
        outcome |= {"correct": np.tile(correct[key], (4, 1)), "length": np.ones(4)}
    found = summarize._lesions(group)["off"]["clean"]
    assert found["paired_difference"]["mean"] == 2.5
    assert found["probability_of_improvement"]["mean"] == (0.5 + 1 + 0 + 1) / 4
    assert found["late_accuracy_difference"]["mean"] == 0.75 and not found["identical"]
    one = group.evaluation.outcomes[0]["clean"]
    assert summarize._identical(one, dict(one))
    for name in ("return", "length", "rewards", "correct"):
        assert not summarize._identical(one, one | {name: one[name] + 1}), name


def test_retention_is_averaged_split_by_split_with_and_without_a_lesion():
    rewards = earning(clean=10, a=9, b=5, clean_off=8, a_off=7, b_off=3)
    group = with_off(group_of(rewards), a={"split": "train"}, b={"split": "held-out"})
    found = summarize._overall(group)
    means = {name: {k: score["mean"] for k, score in part.items()} for name, part in found.items()}
    assert means["intact"] == pytest.approx({"all": 0.7, "train": 0.9, "held-out": 0.5})
    assert means["off"] == pytest.approx({"all": 0.5, "train": 0.7, "held-out": 0.3})


def test_a_curve_over_severities_begins_at_the_clean_task_with_the_same_lesion():
    rewards = earning(clean=10, a=8, b=4, clean_off=9, a_off=6, b_off=3)
    about = {"a": {"severity": 0.5}, "b": {"severity": 1.0}}
    group = with_off(group_of(rewards), **about)
    group.conditions = [
        replace(c, label="mass" if c.severity else c.label) for c in group.conditions
    ]
    intact, off = summarize._severity(group)
    assert intact["severity"] == off["severity"] == [0, 0.5, 1]
    assert intact["area"]["mean"] == pytest.approx(0.5 * 0.9 + 0.5 * 0.6)
    assert off["area"]["mean"] == pytest.approx(0.5 * 0.75 + 0.5 * 0.45)
    assert [x["mean"] for x in off["retention"]] == pytest.approx([0.9, 0.6, 0.3])


def test_lesioned_conditions_are_no_part_of_a_comparison_of_policies():
    more = with_off(group_of(earning(clean=10, a=9, clean_off=8, a_off=1)), a={})
    less = with_off(group_of(earning(clean=10, a=5, clean_off=8, a_off=5)), a={})
    found = {c["measure"]: c for c in summarize._comparisons({"more": more, "less": less})}
    assert found["retention"]["difference"]["mean"] == pytest.approx(0.4)
    assert found["return"]["difference"]["mean"] == pytest.approx(0)


def test_a_lesioned_policy_recovers_from_what_it_was_with_the_same_lesion():
    lost = np.where(np.arange(600) < 200, 0.0, 1.0) + np.zeros((1, 8, 1))
    rewards = {"clean": 5.0 + 0 * lost, "a": 5 - 3 * lost, "clean [off]": 3.0 + 0 * lost,
               "a [off]": 3 - lost}  # fmt: skip
    group = with_off(group_of(rewards), a={"onset": 200})
    intact, off = (summarize._recovery(group, group.conditions[index]) for index in (1, 3))
    assert (intact["before"]["mean"], intact["drop"]["mean"]) == (5, 3)
    assert (off["before"]["mean"], off["drop"]["mean"]) == (3, 1)


def test_what_goes_on_inside_is_the_mean_over_the_episodes_that_were_running():
    group = group_of({"clean": np.ones((2, 3, 400))})
    for outcome, count in zip(group.evaluation.outcomes, ([3.0, 3.0], [3.0, 1.0])):
        outcome["clean"] |= {"inside/count": np.array(count),
                             "inside/firing_rate": np.array(count) * 0.25}  # fmt: skip
    assert summarize._inside(group)["clean"] == {"step": [0, 2], "firing_rate": [0.25, 0.25]}


def test_what_freezing_at_another_step_does_is_no_recovery():
    group = group_of({"clean": np.ones((1, 3, 600))})
    frozen = replace(group.conditions[0], key="clean [frozen]", lesion=LESIONS["frozen"])
    changed = replace(
        frozen, key="changed [frozen]", intact="changed", text="mass=2@200", onset=200
    )
    group.conditions += [frozen, changed]
    assert frozen.freeze_at(600) == 300 and changed.freeze_at(600) == 200
    assert summarize._recovery(group, changed) is None


def test_a_change_that_episodes_draw_is_waited_for():
    text = "motor_signs=seen@change(40..140, 160)"
    drawn = Condition("seen", "seen", "seen", text, None, "train", 40)
    assert (drawn.last_onset, drawn.freeze_at(200)) == (140, 140)
    sooner = replace(drawn, text=f"{text} + mass=2@60")
    assert sooner.freeze_at(200) == 60
    either = replace(drawn, text="mass=2@40 | mass=2@150 + obs_noise=0.1@170 | none")
    assert (either.last_onset, either.freeze_at(200)) == (150, 150)
    assert summarize._recovery(None, either) is None


@pytest.mark.parametrize(
    ("text", "onset", "stays"),
    [
        ("mass=2@60", 60, True),
        ("mass=2@60 + obs_noise=0.1@60", 60, True),
        ("mass=2@60 | gravity=2@60", 60, True),
        ("mass=2@60 | gravity=2@80", 60, False),  # not everywhere at one step
        ("mass=2@60 | none", 60, False),
        ("mass=2@periodic(120)", 60, False),  # and back again
        ("mass=2", None, False),
    ],
)
def test_recovery_is_of_what_changes_once_and_for_good(text, onset, stays):
    assert Condition("it", "it", "it", text, onset=onset).changes_for_good == stays
