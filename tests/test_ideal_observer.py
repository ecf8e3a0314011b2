"""The ideal observer of CueAssociation against known answers, and against all hypotheses."""

import itertools

import numpy as np
import pytest

from spikepropamine.envs.cue_association import CueAssociation
from spikepropamine.evaluation.judge.ideal_observer import IdealObserver, ideal_responses

SEEDS = range(1_000_000, 1_000_300)


@pytest.mark.parametrize(("noise", "known"), [(0.1, 0.997), (0.2, 0.951), (0.3, 0.787)])
def test_two_cues_of_20_bits_have_known_answers(noise, known):
    correct = ideal_responses({"noise": noise}, SEEDS).astype(float)
    assert abs(correct[:, correct.shape[1] // 2 :].mean() - known) < 0.02
    assert abs(correct[:, 0].mean() - 0.5) < 0.1  # nothing can be known of the first cue


def test_without_noise_only_the_first_trial_is_a_guess():
    correct = ideal_responses({}, SEEDS)
    assert correct[:, 1:].all()
    assert 0.4 < correct[:, 0].mean() < 0.6


def test_after_a_reversal_it_knows_the_other_action():
    """There are two, and it knows when they change places."""
    assert ideal_responses({"reversal": 5}, SEEDS[:50])[:, 1:].all()


def test_more_showings_of_a_trial_are_more_evidence():
    once, often = (
        ideal_responses({"noise": 0.3, "cue_length": length}, SEEDS).mean() for length in (1, 5)
    )
    assert often > once + 0.1


def by_enumeration(mappings, noise, shown, feedback):
    """Probability of each action, by summing over all mappings, patterns and orders.

    Of the last pattern shown; the mappings are alike in probability, cues are drawn with
    replacement, and so are patterns.
    """
    cues, bits = len(mappings[0]), shown.shape[1]
    every = np.array(list(itertools.product((0, 1), repeat=bits)))
    flips = (every[None] != shown[:, None]).sum(axis=2)  # [trials, patterns]
    likely = noise**flips * (1 - noise) ** (bits - flips)
    total = np.zeros(2)
    for mapping in mappings:
        for patterns in itertools.product(range(len(every)), repeat=cues):
            for order in itertools.product(range(cues), repeat=len(shown)):
                targets = [mapping[cue] for cue in order]
                if targets[:-1] == feedback:
                    weight = np.prod([likely[t, patterns[cue]] for t, cue in enumerate(order)])
                    total[targets[-1]] += weight
    return total / total.sum()


@pytest.mark.parametrize(
    ("cues", "mappings"), [(2, [(0, 1), (1, 0)]), (3, [(0, 0, 1), (0, 1, 0), (1, 0, 0),
                                                      (1, 1, 0), (1, 0, 1), (0, 1, 1)])]
)  # fmt: skip
def test_its_answers_are_those_of_bayes_rule_on_all_hypotheses(cues, mappings, rng):
    task = CueAssociation(cues=cues, bits=2, trials=4, noise=0.2)
    compared = 0
    for _ in range(20):
        shown = rng.integers(2, size=(3, 2))
        feedback = rng.integers(2, size=2).tolist()
        observer = IdealObserver(task)
        for pattern, target in zip(shown, feedback):
            action = observer.answer(pattern, 1)
            observer.learn(action, action == target)
        expected = by_enumeration(mappings, 0.2, shown, feedback)
        if abs(expected[0] - 0.5) > 1e-9:
            compared += 1
            assert observer.answer(shown[-1], 1) == expected.argmax()
    assert compared > 5
