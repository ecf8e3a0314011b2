"""The ideal observer of CueAssociation: Bayes' rule on all that was seen in the episode
so far.

It knows the knobs of the task, a reversal among them, and infers the rest: which cue
each trial showed, what its pattern is, and which action it asks for. What it knows of a
cue is how often each bit was 1 when it was shown: of k ones in n showings, with flips
of probability f, the bit being 0 or 1 alike,

    p(k, n) = 1/2 (1-f)^k f^(n-k) + 1/2 f^k (1-f)^(n-k)

and a pattern x is p(k + x, n + 1) / p(k, n) likely to be of that cue, by the product
over bits. Cues are exchangeable, so their mapping to actions is known but for their
names, and feedback says which of them it can have been. With as many cues as actions,
two of each, it is one hypothesis, and exact; else every way to assign trials to cues is
one, of which the likeliest `WIDTH` are kept.

It gives the answer that is most likely right, which is the best policy where there are
two actions; with more, a policy that explores could gain a little.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikepropamine.envs.cue_association import CueAssociation

WIDTH = 128
OF_MAKING = ("max_episode_steps", "disable_env_checker")
"""Arguments of `gymnasium.make` that the task itself does not take."""
LEAST = 1e-9  # probability of a flip, so that its logarithm is finite


class IdealObserver:
    """What can be known in one episode of a task, whose knobs it knows; what the task
    has drawn it does not look at. The first axis of an array, H, is of hypotheses.
    """

    def __init__(self, task: CueAssociation) -> None:
        self.actions = task.actions
        self.reversal = task.reversal
        flip = np.clip(task.noise, LEAST, 1 - LEAST)
        self.log_flipped = np.log(flip)
        self.log_kept = np.log1p(-flip)
        evenly, left = divmod(task.cues, task.actions)
        mappings = [
            np.sort([*np.repeat(range(task.actions), evenly), *more])
            for more in itertools.combinations(range(task.actions), left)
        ]
        shifts = range(1, task.actions) if task.reversal is not None else [0]
        pairs = list(itertools.product(mappings, shifts))
        self.targets = np.array(
            [mapping for mapping, _ in pairs], dtype=int
        )  # [H, cues]
        self.shifts = np.array([shift for _, shift in pairs])  # [H]
        self.ones = np.zeros((len(pairs), task.cues, task.bits))  # [H, cues, bits]
        self.shows = np.zeros((len(pairs), task.cues))  # [H, cues]
        self.weights = np.zeros(len(pairs))  # [H], logarithms
        self.trial = 0

    def answer(self, ones: np.ndarray, shows: int) -> int:
        """The likeliest action.

        Args:
            ones: how often each bit was 1 in this trial, [bits].
            shows: in how many showings.
        """
        if self.trial == self.reversal:
            self.targets = (self.targets + self.shifts[:, None]) % self.actions
        self.trial += 1
        self.now = ones, shows
        before = self._log_marginal(self.ones, self.shows)
        after = self._log_marginal(self.ones + ones, self.shows + shows)
        self.joint = self.weights[:, None] + after - before  # [H, cues]
        likely = np.exp(self.joint - self.joint.max())
        return int(
            np.bincount(self.targets.ravel(), likely.ravel(), self.actions).argmax()
        )

    def learn(self, action: int, correct: bool) -> None:
        """Takes in the feedback for an action.

        Args:
            action: what was answered, from 0 to the task's actions - 1.
            correct: whether the feedback said so.
        """
        ones, shows = self.now
        empty = self.shows == 0
        alike = (
            empty[:, :, None]
            & empty[:, None]
            & (self.targets[:, :, None] == self.targets[:, None])
        )
        # of cues that were never shown and ask for the same action one stands for all
        first = ~np.tril(alike, -1).any(axis=2)
        joint = self.joint + np.log(np.maximum(alike.sum(axis=2), 1))
        old, cue = np.nonzero(((self.targets == action) == correct) & first)
        best = np.argsort(joint[old, cue])[::-1][:WIDTH]
        old = old[best]
        cue = cue[best]
        self.weights = joint[old, cue] - joint[old, cue].max()
        self.targets = self.targets[old]
        self.shifts = self.shifts[old]
        self.ones = self.ones[old]
        self.shows = self.shows[old]
        self.ones[np.arange(len(cue)), cue] += ones
        self.shows[np.arange(len(cue)), cue] += shows

    def _log_marginal(self, ones: np.ndarray, shows: np.ndarray) -> np.ndarray:
        """The logarithm of the probability p(k, n) of all bits of a cue."""
        zeros = shows[..., None] - ones
        kept = self.log_kept
        flipped = self.log_flipped
        either = np.logaddexp(
            ones * kept + zeros * flipped, ones * flipped + zeros * kept
        )
        marginal: np.ndarray = (either - np.log(2)).sum(axis=-1)
        return marginal


def ideal_responses(arguments: Mapping[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """Whether the ideal observer is right in CueAssociation.

    Args:
        arguments: of the environment, as `gymnasium.make` takes them.
        seeds: of the episodes.

    Returns:
        bool [episodes, trials], of the trials that ask before a limit of steps.
    """
    own = {name: value for name, value in arguments.items() if name not in OF_MAKING}
    task = CueAssociation(**own)
    limit = arguments.get("max_episode_steps") or task.episode_steps
    asking = range(task.cue_length, task.episode_steps + 1, task.trial_steps)
    trials = sum(step <= limit for step in asking)
    correct = np.zeros((len(seeds), trials), dtype=bool)
    for episode, seed in enumerate(seeds):
        observer = IdealObserver(task)
        observation, _ = task.reset(seed=seed)
        for trial in range(trials):
            ones = np.zeros(task.bits)
            for step in range(1, task.trial_steps + 1):
                if step <= task.cue_length:
                    ones += observation[: task.bits]
                answers = step == task.cue_length
                action = observer.answer(ones, task.cue_length) if answers else 0
                observation, _, _, _, info = task.step(action)
                if answers:
                    observer.learn(action, info["correct"])
                    correct[episode, trial] = info["correct"]
    return correct
