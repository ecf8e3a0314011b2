"""What is said after a run that has not learned."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_evaluation import example

from spikepropamine.report.advice import _has_run, advice_by_policy
from spikepropamine.report.html import report
from spikepropamine.training.advice import (
    RULES,
    Facts,
    advice,
    facts_of,
    has_not_risen,
)
from spikepropamine.training.sections import defaults

NOTHING_TO_SAY = Facts(
    folder=Path("runs/mine"),
    steps=200_000,
    planned=200_000,
    usual_steps=200_000,
    returns=np.tile([-110.0, -111.0], 10),
    deterministic=np.tile([-110.0, -111.0], 10),
    sampled=np.tile([-110.0, -112.0], 10),
    best=(200_000, -110.0),
    spreads=np.linspace(0.6, 0.5, 20),
    entropies=np.linspace(0.7, 0.5, 20),
    clipped=(("layer 1", 0.5),),
    sequence_length=200,
    gamma=0.99,
    horizon=200,
)
RISING = np.linspace(-200.0, -100.0, 20)
CASES = {
    "stopped": (
        {"steps": 50_000},
        "trained for 50,000 of 200,000 steps: continue with the same command and "
        "--resume",
    ),
    "sampled in an evaluation": (
        {"sampled": np.tile([-35.0, -36.0], 10)},
        "Sampled actions earn \u221235.5 an episode, deterministic ones \u2212110",
    ),
    "sampled in training": (
        {"sampled": np.array([]), "returns": np.tile([-160.0, -35.0, -36.0, -35.0], 5)},
        None,  # it varies by more than the difference
    ),
    "sampled at the end of training": (
        {
            "sampled": np.array([]),
            "returns": np.array([-160.0] * 5 + [-35.0, -36.0, -35.0] * 5),
        },
        "Sampled actions earned \u221235.4 at the end of training",
    ),
    "helped in training": (
        {
            "sampled": np.array([]),
            "helped": True,
            "returns": np.array([-160.0] * 5 + [-35.0, -36.0, -35.0] * 5),
        },
        None,
    ),
    "better before": (
        {"best": (40_000, -50.0)},
        "policy of step 40,000 earned \u221250.0 in its evaluation: evaluate "
        f"{Path('runs/mine/best')}",
    ),
    "silent": ({"silent": ("layer 0",)}, "No neuron of layer 0 spikes"),
    "static": ({"is_static": True}, "Nothing in this policy learns while it acts"),
    "rising": (
        {"returns": RISING, "deterministic": RISING[-1:]},
        "still rises: it is \u2212137 in the third quarter of training and \u2212111",
    ),
    "few steps": (
        {"usual_steps": 1_000_000},
        "trained for 200,000 steps, and the default for this task is 1,000,000",
    ),
    "spread gone": (
        {"spreads": np.linspace(0.6, 0.05, 20)},
        "standard deviation of actions fell from 0.600 to 0.050",
    ),
    "entropy gone": (
        {"spreads": np.array([]), "entropies": np.linspace(0.69, 0.01, 20)},
        "entropy of actions fell from 0.690 to 0.010",
    ),
    "bound": (
        {"clipped": (("layer 1", 0.95),)},
        "95\N{NO-BREAK SPACE}% of the fast weights of layer 1 are at their bound",
    ),
    "short sequences": (
        {"sequence_length": 32},
        "Gradients reach back 32 steps, and an episode has up to 200",
    ),
    "short sight": (
        {"gamma": 0.5},
        "A discount of 0.5 looks about 2 steps ahead, and an episode has up to 200",
    ),
    "rewards at once": ({"gamma": 0.0}, None),
}


def test_without_facts_there_is_no_advice() -> None:
    assert advice(NOTHING_TO_SAY) == []
    assert advice(Facts(folder=Path("mine"), steps=10, planned=10)) == []


@pytest.mark.parametrize("case", CASES)
def test_each_fact_has_its_sentence(case: str) -> None:
    changes, words = CASES[case]
    sentences = advice(replace(NOTHING_TO_SAY, **changes))
    if words is None:
        assert sentences == []
    else:
        (sentence,) = sentences
        assert words in sentence


def test_every_rule_is_tested_alone() -> None:
    heard = {
        rule
        for changes, _ in CASES.values()
        for rule in RULES
        if rule(replace(NOTHING_TO_SAY, **changes)) is not None
    }
    assert heard == set(RULES)


def test_three_sentences_at_most_those_that_need_no_training_first() -> None:
    everything = {}
    for changes, _ in CASES.values():
        everything |= changes
    everything["sampled"] = np.tile([-35.0, -36.0], 10)
    facts = replace(NOTHING_TO_SAY, **everything)
    sentences = advice(facts)
    assert len(sentences) == 3
    assert "--resume" in sentences[0] and "Sampled actions" in sentences[1]


def test_a_flat_curve_has_not_risen() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=20)
    assert has_not_risen(noise)
    assert has_not_risen(noise - np.arange(20.0))
    assert not has_not_risen(noise + np.arange(20.0))
    assert not has_not_risen(noise[:7])  # too short to tell
    fast = np.append(-6.0, np.full(39, 50.0)) + random.normal(size=40)
    assert not has_not_risen(fast)  # learned within one row


def write_run(folder: Path, **changes: object) -> dict:
    """What training leaves of a run, but for its weights."""
    settings = defaults("Pendulum-v1", "ndp-oja").__class__(
        env="Pendulum-v1", policy="ndp-oja", steps=20_000
    )
    plain = settings.as_dict() | changes
    columns = ["time/total_timesteps", "rollout/ep_rew_mean", "train/std",
               "spikes/silent/layer0"]  # fmt: skip
    folder.mkdir(parents=True)
    with (folder / "progress.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(12):
            writer.writerow([1000 * (row + 1), -1000 - row % 2, 0.6, 1.0])
    for place, metadata in (
        (folder, {"settings": plain, "steps": 20_000}),
        (
            folder / "best",
            {"steps": 8000, "evaluation": {"mean_reward": -150.0}},
        ),
    ):
        (place / "policy").mkdir(parents=True)
        text = json.dumps({"metadata": metadata})
        (place / "policy" / "policy.json").write_text(text)
    return plain


def test_the_facts_of_a_run_are_those_on_file(tmp_path: Path) -> None:
    folder = tmp_path / "seed-0"
    facts = facts_of(folder, write_run(folder), 20_000)
    assert facts.usual_steps == defaults("Pendulum-v1", "ndp-oja").steps
    assert facts.best == (8000, -150.0)
    assert facts.silent == ("layer 0",)
    assert len(facts.returns) == 12 and not facts.entropies.size
    assert (facts.sequence_length, facts.gamma) == (32, 0.99)
    assert not facts.helped
    assert facts_of(folder, write_run(tmp_path / "b", cue=[2, 10]), 20_000).helped
    # what is missing is not known
    nothing = facts_of(tmp_path / "none", write_run(tmp_path / "c"), 20_000)
    assert not nothing.returns.size and nothing.best is None


def test_an_evaluation_advises_on_policies_that_have_not_learned(
    tmp_path: Path,
) -> None:
    results = example()
    of_snn = [run for run in results.description.runs if run.policy == "snn"]
    for run in of_snn:
        write_run((tmp_path / run.folder).resolve(), policy="snn")
    assert advice_by_policy(tmp_path, results) == {}  # all have learned
    values = results.values
    results.learned = lambda policy: [policy != "snn"] * 3  # type: ignore[method-assign]
    results.values = values
    advised = advice_by_policy(tmp_path, results)
    assert list(advised) == ["snn"]
    assert any("layer 0 spikes" in sentence for sentence in advised["snn"])
    assert "What to try: " in report(results, advice=advised)
    assert "What to try" not in report(results)


def test_sampled_actions_are_those_of_the_same_run(tmp_path: Path) -> None:
    description = example().description
    run = description.runs[0]
    here = tmp_path / "one" / "evaluations"
    elsewhere = tmp_path / "other" / "evaluations"
    assert _has_run(here / "sampled", description, here / "standard", run)
    assert not _has_run(elsewhere / "sampled", description, here / "standard", run)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("snn", True), ("mlp", True), ("rsnn", False), ("ndp-oja", False),
     ("lstm", False), ("gru-linear", False), ("of a plug-in", False)],
)  # fmt: skip
def test_an_actor_without_memory_is_static(
    policy: str, expected: bool, tmp_path: Path
) -> None:
    settings = write_run(tmp_path / "run", policy=policy)
    assert facts_of(tmp_path / "run", settings, 20_000).is_static is expected
