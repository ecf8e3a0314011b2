"""Which conditions an evaluation has: of suites, texts and lesions, chosen by name."""

import pytest
from saved_runs import CUES

from spikepropamine.envs.making import make
from spikepropamine.evaluation.ask.conditions import choose, conditions_of, onset_of
from spikepropamine.evaluation.ask.task import task_of


def test_conditions_of_a_suite():
    task = task_of(CUES, {})
    found, skipped = conditions_of(task, "mid-episode", ["obs_noise=0.1"], ["off"])
    assert found[0].key == "clean" and len({c.key for c in found}) == len(found)
    reversed_cues = next(c for c in found if c.key == "reversed cues")
    assert (reversed_cues.onset, reversed_cues.split) == (20, "held-out")
    lesioned = [c for c in found if c.lesion_name == "off"]
    assert [c.intact for c in lesioned] == [c.key for c in found if c.lesion is None]
    assert not skipped
    found, skipped = conditions_of(task_of("CartPole-v1", {}), "noise", [], [])
    left_out = {entry.condition: entry.reason for entry in skipped}
    assert "observation noise 0.5" in {c.key for c in found}
    assert "CartPole-v1" in left_out["action noise 0.5"]
    with pytest.raises(ValueError, match="nothing of the suite novel-dynamics applies to Pendulum"):
        conditions_of(task_of("Pendulum-v1", {}), "novel-dynamics", [], [])
    with pytest.raises(ValueError, match="has neither a time limit nor trials"):
        task_of("EvidenceAccumulation-v0", {}, horizon_factor=2)


@pytest.mark.parametrize(
    ("condition", "texts", "name"),
    [
        ('{clean: "obs_noise=0.5"}', [], "clean"),
        ('{n: "obs_noise={severity}"}', [], "n 0.123457"),
        ('{"obs_bias=1": "obs_noise=0.5"}', ["obs_bias=1"], "obs_bias=1"),
    ],
)
def test_two_conditions_of_one_name_are_refused(condition, texts, name, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        f"severities: [0.12345671, 0.12345672]\ntrain: {condition}\n"
        'held-out: {shift: "obs_bias=0.7"}\n'
    )
    with pytest.raises(ValueError, match=f"would both be called '{name}'"):
        conditions_of(task_of("CartPole-v1", {}), str(file), texts, [])


def test_a_limit_of_trials_is_multiplied_too():
    limited = {"told": 0.5, "max_episode_steps": 16, "trials": 4, "cue_length": 2,
               "feedback_length": 2, "settle_length": 0}  # fmt: skip
    task = task_of("HalfCheetahCue-v0", limited, horizon_factor=3)
    assert task.horizon == 48 and task.arguments["trials"] == 12
    env = make(task.environment, task.arguments)
    env.reset(seed=0)
    steps = 0
    done = False
    while not done:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        done, steps = terminated or truncated, steps + 1
    assert steps == task.horizon


def test_chosen_conditions_come_with_what_they_are_compared_with():
    found, _ = conditions_of(task_of(CUES, {}), "standard", ["obs_noise=0.1"], ["off", "frozen"])
    of = {"noise-0.2": ["noise-0.2"], "noise-0.1 [off]": ["noise-0.1", "plasticity-off"]}
    for name, others in of.items():
        assert {c.key for c in choose(found, [name])} == {"clean", name, *others}
    assert {c.key for c in choose(found, ["clean", "obs_noise=0.1"]) if c.lesion is None} == {
        "clean",
        "obs_noise=0.1",
    }
    assert len(choose(found, ["noise"])) == 3 + 2 + 2 + 2  # two levels, all of it lesioned twice
    with pytest.raises(ValueError, match=r"did you mean 'noise-0\.1'"):
        choose(found, ["noise-0.11"])


@pytest.mark.parametrize(
    ("text", "onset"),
    [
        ("", None),
        ("mass=2", None),
        ("mass=2@500", 500),
        ("mass=2@ramp(300, 700) + obs_noise=0.1@400", 300),
        ("mass=2@periodic(100)", 50),
        ("mass=2@500 + obs_noise=0.1", None),
    ],
)
def test_onsets(text, onset):
    assert onset_of(text or "none") == onset
