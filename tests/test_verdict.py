import copy

import pytest
from example_evaluation import example_summary

from spikepropamine.evaluation.schema import CLEAN_KEY
from spikepropamine.report.reading import condition_name, severest
from spikepropamine.report.verdict import caveats, comparisons, verdict
from spikepropamine.report.words import listed, number, percent, plural, with_interval

NBSP = "\N{NO-BREAK SPACE}"


def plain(text):
    return text.replace(NBSP, " ").replace("\N{MINUS SIGN}", "-")


def said(summary, policy):
    return plain(" ".join(verdict(summary, policy)))


@pytest.fixture
def summary():
    return example_summary()


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


@pytest.mark.parametrize(
    ("value", "text"), [(0.917, "92 %"), (1.0, "100 %"), (-0.004, "0 %"), (-0.12, "-12 %")]
)
def test_percentages_are_whole(value, text):
    assert plain(percent(value)) == text


def test_an_interval_has_the_decimals_of_its_mean():
    score = {"mean": 1.0, "interval": [0.9, 1.1]}
    assert with_interval(score) == "1.00 [0.90, 1.10]"
    assert plain(with_interval(score, as_percent=True)) == "100 % [90, 110]"


def test_lists_and_plurals():
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [plural(1, "seed"), plural(2000, "seed")] == ["1 seed", "2,000 seeds"]


def test_the_severest_condition_stands_for_its_label(summary):
    names = [condition_name(condition) for condition in severest(summary)]
    assert names == [
        "heavier, severity 1",
        "gravity, severity 1",
        "crippled last limb, severity 1, from step 500",
        "light",
    ]


def test_a_condition_without_a_text_is_not_taken_for_the_unchanged_task(summary):
    noise = summary["conditions"][1] | {"label": "noise", "text": ""}
    assert condition_name(noise) == "noise, severity 0.5"
    assert condition_name(summary["conditions"][0]) == "clean task"


def test_the_verdict_says_what_is_kept_with_plasticity_and_without(summary):
    summary["overall"]["ndp-oja"]["intact"]["all"] |= {"mean": 0.917, "interval": [0.88, 0.951]}
    summary["overall"]["ndp-oja"]["off"]["all"] |= {"mean": 0.61, "interval": [0.5, 0.7]}
    first, severest, *_ = (plain(s) for s in verdict(summary, "ndp-oja"))
    assert first == (
        "earns 4,000 [3,900, 4,100] an episode (random actions: -280, standing still: -1.00) and "
        "keeps 92 % [88, 95] of its return, on average over all perturbed conditions; with "
        "plasticity off 61 % [50, 70]."
    )
    assert (
        "60 % [57, 63] of its return with “heavier, severity 1” (plasticity off: 50 %" in severest
    )
    assert "with “light” (plasticity off: 90 %" in severest


def test_severities_of_one_thing_are_called_by_its_name(summary):
    for condition in summary["conditions"][1:]:
        condition["label"] = "noise"
    assert "of its return, on average over the severities of “noise”" in said(summary, "ndp-oja")


def test_nobody_keeps_more_than_all_of_a_return(summary):
    results = summary["results"]["ndp-oja"]
    light = next(c for c in summary["conditions"] if c["label"] == "light")
    results[light["key"]]["retention"] |= {"mean": 3.16, "interval": [3.0, 3.3]}
    assert "keeps 316" not in said(summary, "ndp-oja")
    assert "all of its return (it earns 316 % [300, 330]) with “light”" in said(summary, "ndp-oja")


@pytest.mark.parametrize(
    ("learned", "claim"), [(False, "has learned nothing that shows"), (None, "cannot be told")]
)
def test_a_policy_that_beats_nobody_has_learned_nothing(summary, learned, claim):
    """Standing still, too, is nobody; and from one episode nothing can be told."""
    summary["policies"]["ndp-oja"]["learned"] = learned
    for result in summary["results"]["ndp-oja"].values():
        result["retention"] = None
    summary["overall"]["ndp-oja"] = {}
    text = said(summary, "ndp-oja")
    assert claim in text and "keeps" not in text


def test_of_a_single_condition_there_is_no_average(summary):
    light = next(c for c in summary["conditions"] if c["label"] == "light")
    keep = {"clean", "clean [off]", light["key"], f"{light['key']} [off]"}
    summary["conditions"] = [c for c in summary["conditions"] if c["key"] in keep]
    assert plain(verdict(summary, "ndp-oja")[0]).endswith(
        " and keeps 100 % [97, 103] of its return with “light” (plasticity off: 90 % [87, 93])."
    )


def test_a_text_that_is_its_own_label_tells_its_onset_once(summary):
    text = "joint_lock:0=1@500"
    lock = summary["conditions"][1] | {"label": text, "text": text, "severity": None, "onset": 500}
    assert condition_name(lock) == text


def test_the_verdict_tells_drop_and_recovery(summary):
    text = said(summary, "ndp-oja")
    falls = "When “crippled last limb, severity 1, from step 500” sets in"
    assert (
        f"{falls}, its reward per step falls from 4.00 by 3.00 in the first 50 steps, and" in text
    )
    assert "80 % [78, 82] of the loss comes back, within 230 steps (plasticity off: 0 %" in text
    assert "it is not shown that any of that comes back (0 % [-2, 2])" in said(summary, "snn")
    found = [r["recovery"] for r in summary["results"]["snn"].values() if r["recovery"]]

    def told(**changes: dict | None) -> str:
        for recovery in found:
            recovery |= {"time": None} | changes
        return said(summary, "snn")

    more = {"mean": -0.5, "interval": [-0.9, -0.1], "interquartile_mean": -0.5, "by_run": [-0.5]}
    assert "and more than that is missing in the end: 3.00, so that " in told(fraction=more)
    small = {"mean": 0.2, "interval": [0.1, 0.3], "interquartile_mean": 0.2, "by_run": [0.2]}
    assert "falls from 4.00 by 0.200 in the first 50 steps, which is less than a tenth." in told(
        fraction=None, drop=small
    )
    text = told(fraction=None, drop=small | {"interval": [-0.1, 0.5]})
    assert "no fall of its reward per step in the first 50 steps can be shown" in text


def test_the_verdict_tells_how_contexts_are_found_out():
    text = said(example_summary(contexts=True), "ndp-oja")
    assert text.startswith(
        "has 85 % [83, 87] of the pace of the teacher that is told, in steps 100 to 200 of a "
        "context that begins with the episode (“held out”), and nine tenths of that"
    )
    assert text.count("(“held out”)") == 2  # a context that an episode begins with, and others
    assert "after 40 steps (plasticity off: 0 %" in text
    assert "less than with plasticity off (difference: -0.500 [-0.600, -0.400] per" in text
    assert "within 50 steps in 75 % [70, 80] (the teacher that is told: 95 %)." in text
    static = said(example_summary(contexts=True), "snn")
    assert "0 % [-2, 2] of the pace" in static and "opposite" not in static


def test_conditions_that_open_with_the_same_episodes_say_it_once():
    summary = example_summary(contexts=True)
    sentence = "With the fast weights of an episode in the opposite context"
    before = said(summary, "ndp-oja").count(sentence)
    for one in [c for c in summary["conditions"] if c["split"] == "held-out"]:
        names = {name: f"{one[name]}, changing" for name in ("key", "intact", "label")}
        summary["conditions"].append(one | names)
        for table in (summary["references"], *summary["results"].values()):
            if one["key"] in table:
                table[names["key"]] = table[one["key"]]
    text = said(summary, "ndp-oja")
    assert "“held out, changing" in text
    assert text.count(sentence) == before > 0


def test_contexts_that_are_too_short_to_settle_in_have_no_pace():
    summary = example_summary(contexts=True)
    for result in summary["results"]["ndp-oja"].values():
        if result["adaptation"]:
            short = result["adaptation"]["later"] | {"settled_pace": None, "settled_rate": None}
            result["adaptation"] |= {"later": short}
    text = said(summary, "ndp-oja")
    assert "of a context that begins with the episode" in text
    assert "of a context that begins within the episode" not in text


@pytest.mark.parametrize(
    ("intervals", "claim"),
    [
        ([[1, 2], [1, 2]], "raises the return: over conditions, the interval of the paired "
         "difference is above zero in all 2."),
        ([[-2, -1], [-1, 1], [-2, -1]], "lowers the return: over conditions, the interval of the "
         "paired difference is below zero in 2 and includes zero in 1."),
        ([[1, 2], [-2, -1]], "No effect of plasticity on the return can be shown: over conditions, "
         "the interval of the paired difference is above zero in 1 and is below zero in 1."),
        ([[-1, 1], [-1, 2]], "No effect of plasticity on the return can be shown"),
        ([[-1, 1]], "can be shown: the interval of the paired difference includes zero."),
        ([[1, 2]], "raises the return: the interval of the paired difference leaves out zero."),
        ([None], "cannot be told"),
        ([None, [1, 2]], "is above zero in 1 and cannot be told in 1."),
    ],
)  # fmt: skip
def test_an_effect_is_claimed_only_where_the_interval_leaves_out_zero(summary, intervals, claim):
    every = summary["lesions"]["ndp-oja"]["off"]
    summary["lesions"]["ndp-oja"]["off"] = {
        intact: part | {"paired_difference": {"mean": 0.5, "interval": interval}}
        for (intact, part), interval in zip(every.items(), intervals)
    }
    assert claim in said(summary, "ndp-oja")


@pytest.mark.parametrize(("helped", "shown"), [(1, False), (10, False), (11, True)])
def test_an_effect_over_conditions_is_one_in_most_of_them(summary, helped, shown):
    """Which holds however much they have in common: episodes, and the steps before an onset."""
    every = summary["lesions"]["ndp-oja"]["off"]
    (part, *_) = every.values()
    summary["lesions"]["ndp-oja"]["off"] = {
        f"condition {i}": part | {"paired_difference": {"mean": 0.5, "interval": [low, 1]}}
        for i, low in enumerate([0.1] * helped + [-1] * (20 - helped))
    }
    text = said(summary, "ndp-oja")
    assert ("Plasticity raises the return" in text) == shown
    assert ("No effect of plasticity on the return can be shown" in text) == (not shown)
    assert f"above zero in {helped} and includes zero in {20 - helped}." in text


def test_a_static_network_is_said_to_have_no_plasticity(summary):
    text = said(summary, "snn")
    assert "It has no plasticity: switching it off changes nothing, bit for bit." in text
    assert "plasticity off" not in text
    assert "lasticity" not in said(summary, "mlp")


def test_a_plastic_network_is_never_said_to_have_none(summary):
    for part in summary["lesions"]["ndp-oja"]["off"].values():
        part["identical"] = True
    text = said(summary, "ndp-oja")
    assert "Switching its plasticity off changed nothing in these episodes." in text
    assert "no plasticity" not in text


def test_a_task_of_trials_is_judged_by_accuracy_against_chance():
    summary = example_summary(cue=True)
    clean = summary["results"]["ndp-oja"]["clean"]
    clean["late_accuracy"] |= {"mean": 0.95, "interval": [0.93, 0.97]}
    clean["accuracy_by_trial"][0] |= {"mean": 0.5, "interval": [0.48, 0.52]}
    assert plain(verdict(summary, "ndp-oja")[0]) == (
        "is right in 95 % [93, 97] of the late trials, above chance (50 %), after 50 % of the "
        "first trials: it learns inside the episode."
    )
    text = said(summary, "ndp-oja")
    assert "With plasticity off it is right in 50 % [48, 52] of the late trials, not to be" in text
    assert "no clear rise inside the episode" in said(summary, "snn")
    clean["accuracy_by_trial"][0] |= {"mean": 0.96, "interval": [0.9, 0.98]}  # told before
    clean["accuracy_rise"] |= {"mean": -0.01, "interval": [-0.04, 0.02]}
    assert plain(verdict(summary, "ndp-oja")[0]).endswith(
        "above chance (50 %), and in 96 % of the first trials."
    )


def test_two_policies_are_compared_without_overclaiming(summary):
    more, kept = (plain(sentence) for sentence in comparisons(summary))
    assert more == (
        "ndp-oja earns 200 [100, 400] more than snn in the clean task; a run of ndp-oja earns "
        "more than one of snn with a probability of 90 % [60, 100]."
    )
    assert kept.startswith("ndp-oja keeps 10 [5, 20] points more of its return than snn;")
    first = summary["comparisons"][0]
    first["unit"] = "episode"
    assert "an episode of ndp-oja earns more than one of snn" in comparisons(summary)[0]
    first["difference"] = {"mean": -5.0, "interval": [-20.0, -1.0]}
    assert comparisons(summary)[0].startswith("ndp-oja earns 5.0 [1.0, 20.0] less than snn")
    for interval in ([-20.0, 10.0], None):
        first["difference"] = {"mean": -5.0, "interval": interval}
        assert comparisons(summary)[1].endswith("leave it open which policy is better.")


def test_caveats_name_what_the_numbers_cannot_tell(summary):
    summary["settings"]["episodes"] = 5
    text = " ".join(caveats(summary))
    assert "Trained once: mlp." in text
    assert "Few training seeds (ndp-oja 3 and snn 3)" in text
    assert "Only 5 episodes per condition and run" in text
    assert "snn hardly got beyond random actions in training seed 2" in text


def test_episodes_that_end_before_the_change_are_named(summary):
    summary = copy.deepcopy(summary)
    onset = max(c["onset"] for c in summary["conditions"] if c["onset"])
    for condition in summary["conditions"]:
        condition["onset"] = condition["onset"] and onset
    length = summary["results"]["snn"][CLEAN_KEY]["length"]
    for mean, said in ((onset + 1, False), (onset, True)):
        length["mean"] = mean
        assert ("Episodes of snn have" in " ".join(caveats(summary))) is said


def test_trainings_that_were_stopped_or_unequal_are_named(summary):
    summary = copy.deepcopy(summary)
    snn = summary["policies"]["snn"]
    snn["steps_planned"] = [4_000_000 for _ in snn["training_seeds"]]
    snn["steps_trained"] = [25_600, *[4_000_000 for _ in snn["training_seeds"][1:]]]
    text = " ".join(caveats(summary))
    assert "snn, training seed 0, was stopped after 25,600 of 4,000,000 steps" in text
    assert "trained for different numbers of steps: " in text and "snn 4,000,000" in text


def test_many_seeds_and_episodes_need_no_caveat(summary):
    summary = copy.deepcopy(summary)
    for part in summary["policies"].values():
        part |= {"training_seeds": list(range(5)), "dead_seeds": []}
    assert caveats(summary) == []
