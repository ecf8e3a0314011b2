"""Pictures of the cue tasks."""

import gymnasium as gym
import numpy as np
import pytest
from conftest import pixels

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.envs.cue_association import CueAssociation
from spikepropamine.envs.evidence_accumulation import EvidenceAccumulation


def test_a_cue_is_drawn_bit_by_bit():
    task = CueAssociation(cues=1, bits=4, render_mode="rgb_array")
    task.reset(seed=3, options={"cues": [[1, 0, 1, 1]]})
    picture = task.render()
    squares = [tuple(picture[92 + 22, 28 + 44 * bit + 22]) for bit in range(4)]
    on, off = (0, 114, 178), (228, 228, 228)
    assert squares == [on, off, on, on]
    task.step(0)  # feedback: no cue is shown
    assert tuple(task.render()[92 + 22, 28 + 22]) == off


@pytest.mark.parametrize("right", [True, False])
def test_an_answer_is_drawn_green_or_red(right):
    task = CueAssociation(render_mode="rgb_array")
    task.reset(seed=0)
    target = int(task.targets[0])
    task.step(target if right else 1 - target)
    picture = task.render()
    green, red = pixels(picture, (0, 158, 115)), pixels(picture, (213, 94, 0))
    assert green[0].size > 500 if right else red[0].size > 500
    assert not (red if right else green)[0].size


def test_evidence_appears_cue_by_cue():
    task = EvidenceAccumulation(render_mode="rgb_array")
    task.reset(seed=1)
    seen = []
    for _ in range(task.episode_steps):
        picture = task.render()
        left, right = (pixels(picture, c)[0].size for c in ((0, 114, 178), (204, 121, 167)))
        seen.append((left, right))
        task.step(0)
    per_cue = max(seen[-1]) / max(task.sides.sum(), (1 - task.sides).sum())
    assert seen[0] == (0, 0)
    counts = np.round(np.array(seen[-1]) / per_cue)
    assert list(counts) == [(task.sides == 0).sum(), (task.sides == 1).sum()]


@pytest.mark.parametrize(
    ("name", "many"),
    [("CueAssociation-v0", {"trials": 300}), ("EvidenceAccumulation-v0", {"population": 200})],
)
def test_what_has_no_room_is_drawn_all_the_same(name, many):
    env = gym.make(name, render_mode="rgb_array", **many)
    env.reset(seed=0)
    for _ in range(10):
        env.step(0)
    assert env.render().shape == (420, 560, 3)


@pytest.mark.parametrize("name", ["CueAssociation-v0", "EvidenceAccumulation-v0"])
def test_cue_tasks_draw_when_asked_to(name):
    env = gym.make(name, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (420, 560, 3)
    over = False
    while not over:
        *_, over, _, _ = env.step(0)
        assert env.render().dtype == np.uint8
    plain = gym.make(name)
    plain.reset(seed=0)
    assert plain.unwrapped.render() is None
    with pytest.raises(ValueError, match="render_mode must be one of None, 'rgb_array'"):
        type(plain.unwrapped)(render_mode="human")
