"""A teacher that knows what is hidden: what it says, where it acts, and that it is
learned from.
"""

import csv

import gymnasium as gym
import numpy as np
import pytest
import tapes
from conftest import VARIANTS, cross_entropies, make_model
from stable_baselines3.common.vec_env import DummyVecEnv

from spikepropamine.agents.supervised import SupervisedMlp
from spikepropamine.agents.teacher import Taught
from spikepropamine.agents.zoo import actor_parameters, build
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.training.command_line import parse
from spikepropamine.training.run import main
from spikepropamine.training.sections import defaults

BOX = tapes.Mirror.action_space
LENGTH = tapes.Mirror.length


class Mirror(tapes.Mirror):
    """The sign changes at step 3 of an episode."""

    changes = (0, 3)


class Copier:
    """Does what is shown; with four channels, what is shown times the context that it
    sees.
    """

    def __init__(self, channels=2, action_space=BOX):
        self.observation_space = gym.spaces.Box(
            -1.0, 1.0, (channels,), dtype=np.float32
        )
        self.action_space = action_space
        self.policy = self

    def predict(self, observation, state, starts, deterministic):
        assert observation.shape[1] == self.observation_space.shape[0]
        sign = observation[:, 3:] if observation.shape[1] == 4 else 1.0
        return observation[:, :2] * sign, state


def mirrors(teacher=None, guided_steps=0, opening=0, n_envs=2, hidden=None):
    plain = DummyVecEnv([Mirror] * n_envs)
    plain.seed(0)
    return Taught(
        plain, teacher or Copier(), guided_steps, opening, seed=0, hidden=hidden
    )


@pytest.mark.parametrize(
    ("teacher", "hidden"), [(Copier(), None), (Copier(4), lambda info: info["context"])]
)
def test_the_teacher_says_what_is_right_in_the_present_context(teacher, hidden):
    venv = mirrors(teacher, hidden=hidden)
    venv.reset()
    for _ in range(2 * LENGTH):
        right = [env.unwrapped.shown * env.unwrapped.sign for env in venv.envs]
        *_, infos = venv.step(np.zeros((2, 2)))
        np.testing.assert_allclose([info["taught"] for info in infos], right, atol=1e-6)


def test_the_teacher_acts_in_all_episodes_at_first_and_in_none_after_the_guided_steps():
    venv = mirrors(guided_steps=2 * LENGTH)
    venv.reset()
    for expected in ("taught", "own"):
        for _ in range(LENGTH - 1):
            venv.step(np.full((2, 2), 0.125))
        for env in venv.envs:
            for action, right in env.unwrapped.log:
                np.testing.assert_allclose(
                    action, right if expected == "taught" else 0.125
                )
        venv.step(np.zeros((2, 2)))


def test_noise_is_in_what_the_teacher_does_and_not_in_what_it_teaches():
    plain = DummyVecEnv([Mirror] * 400)
    plain.seed(0)
    venv = Taught(plain, Copier(), 10**9, 0, seed=0, noise=0.1)
    venv.reset()
    right = np.array([env.unwrapped.shown * env.unwrapped.sign for env in venv.envs])
    *_, infos = venv.step(np.zeros((400, 2)))
    done = np.array([env.unwrapped.log[-1][0] for env in venv.envs])
    np.testing.assert_allclose([info["taught"] for info in infos], right, atol=1e-6)
    inside = np.abs(right) < 0.5  # where the ends of the range are far away
    spread = np.std((done - right)[inside])
    half = (venv.action_space.high[0] - venv.action_space.low[0]) / 2
    assert spread == pytest.approx(0.1 * half, rel=0.15)


def test_noise_is_refused_where_actions_are_no_numbers():
    class Chooses(Mirror):
        action_space = gym.spaces.Discrete(2)

    venv = DummyVecEnv([Chooses])
    with pytest.raises(
        ValueError, match="guided_noise is for actions that are numbers"
    ):
        Taught(venv, Copier(action_space=Chooses.action_space), 0, 0, seed=0, noise=0.1)


def test_who_acts_in_an_episode_does_not_change_where_another_one_ends():
    class Short(Mirror):
        def step(self, action):
            return *super().step(action)[:3], True, {"context_began": 0}

    venv = Taught(DummyVecEnv([Mirror] * 40 + [Short]), Copier(), 10_000, 0, seed=0)
    venv.steps_taken = 5_000
    venv.reset()
    guided = venv._guided[:40].copy()
    assert 0 < guided.mean() < 1
    for _ in range(LENGTH - 1):
        assert venv.step(np.zeros((41, 2)))[2][40]
        np.testing.assert_array_equal(venv._guided[:40], guided)


def test_the_opening_of_every_context_teaches_nothing():
    venv = mirrors(opening=2)
    venv.reset()
    taught = [venv.step(np.zeros((2, 2)))[3][0]["taught"] for _ in range(2 * LENGTH)]
    assert [x is not None for x in taught] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ] * 2


def test_what_the_task_itself_calls_right_is_not_learned_from_a_teacher():
    class Told(Mirror):
        def _answer(self):
            observation, info = super()._answer()
            return observation, info | {"target": self.shown * self.sign}

    venv = Taught(DummyVecEnv([Told] * 4), Copier(), 0, opening=LENGTH, seed=0)
    model = make_model(venv, SupervisedMlp, "MlpPolicy")
    with pytest.raises(ValueError, match="nothing to learn from"):
        model.learn(16 * 4)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (Copier(4), "observes 4 channels, the task has 3"),
        (
            Copier(action_space=gym.spaces.Discrete(2)),
            "the teacher's actions are Discrete",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, message):
    with pytest.raises(ValueError, match=message):
        mirrors(teacher)


@pytest.mark.parametrize(("algorithm", "policy"), VARIANTS)
def test_continuous_actions_are_learned_from_the_teacher(algorithm, policy):
    class Plain(Copier):
        def predict(self, observation, state, starts, deterministic):
            return observation[:, :2], state

    venv = mirrors(Plain(3), n_envs=4)
    venv.translates = False
    model = make_model(venv, algorithm, policy, learning_rate=1e-2, n_epochs=4)
    losses = cross_entropies(model, 12)
    assert losses[-1] < losses[0] - 0.5


TINY = [
    *["--n-envs", "2", "--steps", "64", "--network.hidden", "8"],
    *["--trainer.n-steps", "16", "--trainer.batch-size", "16"],
    *["--trainer.sequence-length", "16", "--trainer.n-epochs", "1"],
]


def train(*arguments):
    return main(["--env", "Reacher-v5", *TINY, *arguments], "train.py")


@pytest.fixture(scope="session")
def taught_by(tmp_path_factory):
    """The run of a teacher."""
    runs = tmp_path_factory.mktemp("teacher")
    arguments = ["--policy", "mlp", "--normalize-observations", "--runs", str(runs)]
    assert train(*arguments) == 0
    return runs / "Reacher-v5" / "mlp" / "seed-0"


def test_the_command_line_teaches_and_goes_on_from_what_was_taught(
    taught_by, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    hidden = ["--perturb", "motor_signs=seen", "--previous"]
    assert train("--policy", "snn", *hidden, "--teacher", str(taught_by)) == 0
    taught = tmp_path / "runs/Reacher-v5/snn/seed-0"
    with (taught / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [
        float(row["train/cross_entropy"]) for row in rows if row["train/cross_entropy"]
    ]
    assert losses and max(losses) < 100
    assert all(0 <= float(row["rollout/teacher_acts"]) <= 1 for row in rows)
    assert "the teacher still acted in 100% of the episodes" in capsys.readouterr().out
    goes_on = [
        "--policy",
        "snn",
        *hidden,
        "--seed",
        "1",
        "--trainer.learning-rate",
        "1e-12",
    ]
    assert train(*goes_on, "--from", str(taught)) == 0
    before, after = (
        load_policy(folder / "policy").policy.state_dict()
        for folder in (taught, taught.with_name("seed-1"))
    )
    shaped = parse(["--env", "Reacher-v5", "--policy", "snn", "--from", str(taught)])
    assert shaped.network.hidden == (8,) and shaped.trainer.kind == "ppo"
    for name, weights in before.items():
        np.testing.assert_allclose(after[name], weights, atol=1e-8, err_msg=name)


def test_a_teacher_that_was_shown_what_perturbs_is_shown_it_again(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    changing = ["--perturb", "mass=0.5..2 | damping=0.5..2"]
    assert train("--policy", "mlp", "--reveal", *changing) == 0
    teacher = "runs/Reacher-v5/mlp/seed-0"
    observed = load_policy(tmp_path / teacher / "policy").policy.observation_space
    assert observed.shape == (10 + 2,)
    assert train("--policy", "snn", "--previous", "--teacher", teacher, *changing) == 0
    capsys.readouterr()
    other = ["--perturb", "motor_signs=seen", "--overwrite"]
    assert train("--policy", "snn", "--teacher", teacher, *other) == 2
    message = "it was shown the contexts of its task alone, those here are motor_signs"
    assert message in capsys.readouterr().err


def test_the_size_to_match_is_that_of_the_policy_when_it_is_taught(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    robot = ["--env", "HalfCheetah-v5", "--seed", "0"]
    matched = [
        *robot,
        "--policy",
        "mlp",
        "--runs",
        "matched",
        "--match-parameters",
        "snn",
    ]
    assert train(*matched, "--teacher", "teachers/HalfCheetah-v5/mlp") == 0
    policy = load_policy(tmp_path / "matched/HalfCheetah-v5/mlp/seed-0/policy").policy

    venv = DummyVecEnv([lambda: gym.make("HalfCheetah-v5")])
    taught, alone = (
        actor_parameters(build("snn", venv, one.network, one.trainer).policy)
        for one in (
            defaults("HalfCheetah-v5", "snn", taught) for taught in (True, False)
        )
    )
    assert taught > 1.5 * alone
    assert actor_parameters(policy) == pytest.approx(taught, rel=0.05)


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        ("Pusher-v5", ["--teacher"], "it learned Reacher-v5, which is another task"),
        ("Reacher-v5", ["--teacher", "previous"], "trained with --previous"),
        (
            "Reacher-v5",
            ["--teacher", "damaged"],
            "--teacher damaged: its settings are no mapping",
        ),
        (
            "Reacher-v5",
            ["--no-normalize-observations", "--from"],
            "it observes normalised numbers",
        ),
        (
            "Reacher-v5",
            [*TINY, "--network.hidden", "9", "--from"],
            "of another network: of mlp on Reacher-v5, which differs from this one",
        ),
        (
            "Reacher-v5",
            ["--trainer.kind", "sac", "--from"],
            "neither can start from the other",
        ),
        (
            "Pendulum-v1",
            ["--teacher", "nowhere"],
            "--teacher: 'nowhere' is neither a run folder",
        ),
        (
            "Pendulum-v1",
            ["--from", "nowhere"],
            "--from: 'nowhere' is neither a run folder",
        ),
        (
            "Reacher-v5",
            ["--trainer.kind", "ppo", "--teacher"],
            "kind must be supervised",
        ),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_anything_is_written(
    taught_by, tmp_path, monkeypatch, capsys, env, arguments, message
):
    monkeypatch.chdir(tmp_path)
    other = load_policy(taught_by / "policy")
    other.metadata["settings"]["previous"] = True
    save_policy(tmp_path / "previous" / "policy", other.policy, None, other.metadata)
    save_policy(tmp_path / "damaged" / "policy", other.policy, None, {"settings": []})
    own = arguments[-1] in ("previous", "damaged", "nowhere")
    named = arguments if own else [*arguments, str(taught_by)]
    assert (
        main(["--env", env, "--policy", "mlp", "--runs", "other", *named], "train.py")
        == 2
    )
    *_, line = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "other").exists()


class Counting:
    """A teacher whose action is how often it was asked since the episode began."""

    def __init__(self):
        self.observation_space = BOX
        self.action_space = BOX
        self.policy = self

    def predict(self, observation, state, starts, deterministic):
        before = np.zeros((1, len(starts), 1)) if state is None else state[0]
        now = np.where(starts[None, :, None], 0.0, before) + 0.125
        return np.repeat(now[0], 2, axis=1), (now,)


def test_a_teacher_keeps_its_memory_within_an_episode():
    venv = Taught(DummyVecEnv([Mirror] * 2), Counting(), 0, 0, seed=0)
    venv.translates = False
    venv.reset()
    taught = [venv.step(np.zeros((2, 2)))[3][0]["taught"][0] for _ in range(2 * LENGTH)]
    assert taught == [0.125 * step for step in range(1, LENGTH + 1)] * 2


def test_the_teacher_sees_the_plain_task():
    class Flipped(Mirror):
        def _answer(self):
            observation, info = super()._answer()
            observation[:2] *= self.sign
            return observation, info

        def out_of_context(self, observation):
            return observation * self.sign

    venv = Taught(DummyVecEnv([Flipped] * 2), Copier(), 0, 0, seed=0)
    venv.reset()
    for _ in range(2 * LENGTH):
        right = [env.unwrapped.shown * env.unwrapped.sign for env in venv.envs]
        *_, infos = venv.step(np.zeros((2, 2)))
        np.testing.assert_allclose([info["taught"] for info in infos], right, atol=1e-6)
