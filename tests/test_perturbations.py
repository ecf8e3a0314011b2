"""Perturbations: each does what it says, no more, and can be undone."""

import copy
import dataclasses
import re
import subprocess
import sys

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.wrappers import DelayObservation
from stable_baselines3.common.env_checker import check_env as check_sb3

from envs import quiet_mujoco
from envs.perturbations import CATALOGUE, Perturbed, parse, reason_against
from envs.perturbations.__main__ import run
from envs.perturbations.model import same_model
from envs.perturbations.verify import TASKS, Player, line, verify, verify_family

quiet_mujoco()
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute:UserWarning")

STEPS = 200
PLAIN = {"disable_env_checker": True, "max_episode_steps": -1}


def make(task, **arguments):
    return gym.make(task, **PLAIN, **arguments)


def play(env, steps=STEPS, seed=0):
    """Observations and rewards on a fixed tape, through falls."""
    random = np.random.default_rng(seed)
    space = env.action_space
    observation, _ = env.reset(seed=seed)
    rows = [np.append(observation, 0.0)]
    for _ in range(steps):
        action = random.uniform(space.low, space.high).astype(space.dtype)
        observation, reward, *_ = env.step(action)
        rows.append(np.append(observation, reward))
    return np.array(rows)


def with_model(task, model):
    """The task with another model of the same sizes."""
    env = make(task)
    env.unwrapped.model, env.unwrapped.data = model, mujoco.MjData(model)
    return env


def source(task):
    env = make(task)
    with open(env.unwrapped.fullpath) as file:
        return file.read()


def compiled(xml):
    spec = mujoco.MjSpec.from_string(xml)
    return spec.compile()


def replaced(text, *pairs):
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def keep_densities(xml, edited):
    """HalfCheetah's file scales all masses to a total: scale the edited ones as much."""
    loose = [text.replace('settotalmass="14"', "") for text in (xml, edited)]
    before, after = (compiled(text).body_mass.sum() for text in loose)
    return edited.replace('settotalmass="14"', f'settotalmass="{float(14 * after / before)!r}"')


def heavy_torso(task, factor):
    """Recompiled with a multiple of the density of the torso's geoms."""
    xml = source(task)
    if task == "Ant-v5":
        old = 'name="torso_geom" pos="0 0 0"'
        return compiled(replaced(xml, (old, old + f' density="{5 * factor}"')))
    edited = replaced(
        xml,
        ('name="torso" size="0.046"', f'name="torso" size="0.046" density="{1000 * factor}"'),
        ('name="head" pos=".6 0 .1"', f'name="head" pos=".6 0 .1" density="{1000 * factor}"'),
    )
    return compiled(keep_densities(xml, edited))


def short_limb(task):
    """Recompiled with one middle segment of half the length, written out by hand."""
    xml = source(task)
    if task == "Ant-v5":
        leg = 'fromto="0.0 0.0 0.0 0.2 0.2 0.0" name="left_leg_geom"'
        lower = re.search(r'<body pos="0.2 0.2 0">\s*<joint axis="-1 1 0" name="ankle_1"', xml)[0]
        return compiled(
            replaced(
                xml,
                (leg, leg.replace("0.2", "0.1")),
                (lower, lower.replace('"0.2 0.2 0"', '"0.1 0.1 0"')),
            )
        )
    edited = replaced(
        xml,
        ('pos="-.14 0 -.07" rgba', 'pos="-.07 0 -.035" rgba'),
        ('size="0.046 .15" type="capsule"/>\n          <body name="bfoot" pos="-.28 0 -.14">',
         'size="0.046 .075" type="capsule"/>\n          <body name="bfoot" pos="-.14 0 -.07">'),
    )  # fmt: skip
    return compiled(keep_densities(xml, edited))


def damped(task, factor):
    spec = mujoco.MjSpec.from_string(source(task))
    for joint in spec.joints:
        joint.damping *= factor
    return spec.compile()


LIMB = {"Ant-v5": "aux_1", "HalfCheetah-v5": "bshin"}


RECOMPILED = {
    "mass": (lambda task, factor: heavy_torso(task, factor), "mass:torso={factor}"),
    "limb_length": (lambda task, factor: short_limb(task), "limb_length:{limb}=0.5"),
    "damping": (lambda task, factor: damped(task, factor), "damping={factor}"),
}


def perturbed_and_recompiled(task, what, factor):
    recompile, text = RECOMPILED[what]
    text = text.format(factor=factor, limb=LIMB[task])
    return Perturbed(make(task), text), with_model(task, recompile(task, factor))


@pytest.mark.parametrize("task", LIMB)
@pytest.mark.parametrize("what", RECOMPILED)
def test_every_step_agrees_with_a_recompiled_model(task, what):
    """The recompiled one gets the state of the other before each step: contacts are chaotic, and
    would make much of a difference in the last bit of a mass.
    """
    one, other = perturbed_and_recompiled(task, what, 1.5)
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    random = np.random.default_rng(0)
    one.reset(seed=0)
    other.reset(seed=0)
    for _ in range(STEPS):
        ours, theirs = one.unwrapped, other.unwrapped
        state = np.zeros(mujoco.mj_stateSize(ours.model, kind))
        mujoco.mj_getState(ours.model, ours.data, state, kind)
        theirs.data.xpos[:] = ours.data.xpos  # Ant measures its speed with these
        mujoco.mj_setState(theirs.model, theirs.data, state, kind)
        action = random.uniform(-1, 1, one.action_space.shape)
        a, b = one.step(action), other.step(action)
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(a[1], b[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("task", LIMB)
@pytest.mark.parametrize("what", RECOMPILED)
def test_a_whole_tape_agrees_with_a_recompiled_model(task, what):
    """With a factor that leaves no rounding behind, no step has to be set right."""
    one, other = perturbed_and_recompiled(task, what, 2)
    plain, actual, expected = play(make(task)), play(one), play(other)
    assert np.abs(actual - plain).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_mass_without_inertia_is_another_thing():
    """The test above can tell the difference."""
    env = make("Ant-v5")
    env.unwrapped.model.body_mass[1] *= 1.5
    expected = play(with_model("Ant-v5", heavy_torso("Ant-v5", 1.5)))
    assert np.abs(play(env) - expected).max() > 1e-3


# ---------------------------------------------------------------- the proof, in short

QUICK = ("HalfCheetah-v5", "CueAssociation-v0")


@pytest.mark.parametrize("task", QUICK)
def test_every_family_is_proven(task):
    rows = verify([task])
    assert len(rows) == len(CATALOGUE)
    assert not [line(row) for row in rows if row.failures]
    assert {row.family for row in rows if row.reason} == {
        "HalfCheetah-v5": {"gravity_tilt", "cue_reversal"},
        "CueAssociation-v0": {
            name for name, family in CATALOGUE.items() if family.group in ("body", "acting")
        }
        | {"gravity", "gravity_tilt", "slope", "friction", "viscosity", "wind", "push"}
        | {"rough_ground", "direction"},
    }[task]


def test_every_family_is_proven_somewhere():
    """The families that the tasks above cannot have."""
    assert not verify(["Ant-v5"], [CATALOGUE["gravity_tilt"]])[0].failures
    assert not verify(["HalfCheetahCue-v0"], [CATALOGUE["cue_reversal"]])[0].failures


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task not in QUICK])
def test_every_family_is_proven_in_every_task(task):
    assert not [line(row) for row in verify([task]) if row.failures]


@pytest.fixture(scope="module")
def cheetah():
    return Player("HalfCheetah-v5", steps=60)


def broken(name, **changes):
    return dataclasses.replace(CATALOGUE[name], **changes)


def floor_alone(model, value, bound):
    model.geom_friction[model.geom("floor").id] *= value


def compounding(task, value, bound):
    task._forward_reward_weight *= value


def unseeded(observation, value, bound):
    return observation + value * np.random.default_rng().standard_normal(observation.shape)


def from_the_start(observation, value, bound):
    observation += 1e-12
    return observation


SHARED = []


def shared(observation, value, bound):
    SHARED.append(observation)
    return observation + value * SHARED[-2 if len(SHARED) > 1 else 0]


def too_big(observation, value, bound):
    return (observation + value).astype(np.float32)[:5]


@pytest.mark.parametrize(
    ("family", "failure"),
    [
        (broken("friction", edit_model=floor_alone), "severity 1.0 changes nothing"),
        (broken("direction", edit_task=compounding), "the task is not restored"),
        (broken("obs_noise", observe=unseeded), "a seed does not reproduce it"),
        (broken("obs_noise", observe=from_the_start), "severity 0 differs from the plain task"),
        (broken("obs_noise", observe=shared), "two perturbed environments reach each other"),
        (broken("obs_noise", observe=too_big), "an observation is not in the observation space"),
        (broken("mass", edit_model=lambda *_: None), "it does not act after its onset"),
        (broken("damping", hardest=0, other=3), "a higher severity does not change more"),
    ],
)
def test_the_proof_catches_what_is_broken(cheetah, family, failure):
    if failure.startswith("a higher"):
        # a value that moves the wrong way
        family = broken("damping", edit_model=lambda model, value, bound: CATALOGUE[
            "damping"].edit_model(model, 1 + 0.5 / value, bound))  # fmt: skip
    assert failure in verify_family(cheetah, family).failures


# ---------------------------------------------------------------- models


MODEL_FAMILIES = [name for name, family in CATALOGUE.items() if family.edits_model]


@pytest.mark.parametrize("name", MODEL_FAMILIES)
def test_the_model_is_restored_on_close(name):
    env = make("Ant-v5")
    before = copy.copy(env.unwrapped.model)
    wrapper = Perturbed(env, f"{name}~1")
    wrapper.reset(seed=0)
    assert not same_model(wrapper.unwrapped.model, before)
    wrapper.close()
    assert same_model(env.unwrapped.model, before)


def test_edits_do_not_compound_over_resets_and_ramps():
    env = Perturbed(make("HalfCheetah-v5"), "mass:torso=2@ramp(0, 4) + mass=1.5")
    mass = env.unwrapped.model.body_mass.copy()
    for seed in range(3):
        play(env, steps=6, seed=seed)
        np.testing.assert_allclose(env.unwrapped.model.body_mass[1:3] / mass[1:3], [3, 1.5])
    env.reset(seed=0)
    np.testing.assert_allclose(env.unwrapped.model.body_mass[1:3] / mass[1:3], [1.5, 1.5])


def test_all_friction_changes_and_that_of_the_floor_alone_does_nothing():
    env = make("HalfCheetah-v5")
    plain = play(env)
    env.unwrapped.model.geom_friction[0] *= 0.1
    assert np.array_equal(play(env), plain)
    assert not np.array_equal(play(Perturbed(make("HalfCheetah-v5"), "friction=0.1")), plain)


def test_a_locked_joint_stays_where_it_was():
    env = Perturbed(make("HalfCheetah-v5"), "joint_lock:bshin=1@20")
    joint = env.unwrapped.model.joint("bshin").qposadr[0]
    random = np.random.default_rng(0)
    env.reset(seed=0)
    angles = []
    for _ in range(100):
        env.step(random.uniform(-1, 1, 6))
        angles.append(env.unwrapped.data.qpos[joint])
    assert np.ptp(angles[30:]) < 0.2 * np.ptp(angles[:20])


def test_slope_is_gravity_seen_from_the_ground():
    env = Perturbed(make("HalfCheetah-v5"), "slope=10")
    env.reset(seed=0)
    gravity = env.unwrapped.model.opt.gravity
    np.testing.assert_allclose(gravity, [-9.81 * np.sin(np.pi / 18), 0, -9.81 * np.cos(np.pi / 18)])


def test_rough_ground_has_no_end():
    """It is under the robot wherever that goes."""
    env = Perturbed(make("HalfCheetah-v5"), "rough_ground=0.15")
    task = env.unwrapped
    env.reset(seed=0)
    terrain = task.model.geom("rough_ground").id
    touched = []
    for place in (2.0, 30.0, 333.0, -100.0):
        task.data.qpos[0] = place
        env.step(np.zeros(6))
        hits = 0
        for _ in range(40):
            env.step(np.zeros(6))
            hits += any(terrain in contact.geom for contact in task.data.contact)
        touched.append(hits)
    assert min(touched) > 20


def test_rendering_windows_follow_a_change_of_model():
    env = make("HalfCheetah-v5")
    first = env.unwrapped.model
    wrapper = Perturbed(env, "rough_ground=0.1")
    assert env.unwrapped.mujoco_renderer.model is env.unwrapped.model is not first
    wrapper.undo()
    assert env.unwrapped.mujoco_renderer.model is env.unwrapped.model is first


# ---------------------------------------------------------------- sensing and acting


class Echo(gym.Env):
    """Observes the step in every channel, and the action that arrived."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observation(self):
        return np.full(4, self.clock, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.arrived = 1, []
        return self._observation(), {}

    def step(self, action):
        self.clock += 1
        self.arrived.append(np.array(action))
        return self._observation(), 0.0, False, False, {}


def echoes(text, steps=30, seed=0, action=(0.5, -0.5), **arguments):
    env = Perturbed(Echo(), text, **arguments)
    rows, infos = [], []
    observation, info = env.reset(seed=seed)
    rows.append(observation)
    infos.append(info["perturbations"])
    for _ in range(steps):
        observation, *_, info = env.step(np.array(action, np.float32))
        rows.append(observation)
        infos.append(info["perturbations"])
    return np.array(rows), np.array(env.unwrapped.arrived), infos


def test_noise_follows_the_spread_of_each_dimension():
    spread = np.array([0, 1, 10, 100])
    noise = echoes("obs_noise=0.5", 2000, spread=spread)[0] - echoes("none", 2000)[0]
    np.testing.assert_allclose(noise.std(axis=0), 0.5 * spread, rtol=0.1)
    assert abs(np.corrcoef(noise[:, 1], noise[:, 2])[0, 1]) < 0.1


def test_the_same_noise_at_every_severity():
    clean = echoes("none")[0]
    one, two = (echoes(f"obs_noise={level}")[0] - clean for level in (0.2, 0.4))
    np.testing.assert_allclose(two, 2 * one, atol=1e-5)


def test_a_delay_is_gymnasiums_but_for_the_beginning():
    env = DelayObservation(Echo(), 3)
    env.reset(seed=0)
    theirs = [env.step(np.zeros(2, np.float32))[0] for _ in range(10)]
    ours = echoes("obs_delay=3", 10)[0][1:]
    np.testing.assert_array_equal(ours[3:], theirs[3:])
    assert (ours[:3] == 1).all()


def test_delays_begin_at_their_onset():
    assert echoes("obs_delay=2@5", 8)[0][:, 0].tolist() == [1, 2, 3, 4, 5, 4, 5, 6, 7]


def test_stuck_sensors_keep_the_reading_of_the_onset():
    rows = echoes("obs_stuck=0.5@10")[0]
    stuck = rows[-1] == 11
    assert stuck.sum() == 2 and (rows[-1][~stuck] == 31).all()


def test_dropped_dimensions_read_zero():
    rows = echoes("obs_dropout=0.5", 2000)[0]
    np.testing.assert_allclose((rows == 0).mean(axis=0), 0.5, atol=0.06)


def test_actions_arrive_as_they_should():
    assert (echoes("action_gain=0.5")[1] == [0.25, -0.25]).all()
    assert (echoes("action_flip:action_1=-1")[1] == [0.5, 0.5]).all()
    assert (echoes("action_flip:-1=-1")[1] == [0.5, 0.5]).all()
    delayed = echoes("action_delay=2")[1]
    assert (delayed[:2] == 0).all() and (delayed[2:] == [0.5, -0.5]).all()
    dropped = (echoes("action_drop=0.5", 2000)[1] == 0).all(axis=1).mean()
    assert 0.44 < dropped < 0.56
    noisy = echoes("action_noise=1", 500)[1]
    assert noisy.min() >= -1 and noisy.max() <= 1 and noisy.std() > 0.3


def test_severity_and_value_are_visible_and_follow_the_schedule():
    infos = echoes("action_gain~1@ramp(2, 4) + obs_noise=0.2@periodic(4)", 6)[2]
    assert [info["action_gain"]["value"] for info in infos] == [1, 1, 1, 0.625, 0.25, 0.25, 0.25]
    assert [info["action_gain"]["severity"] for info in infos] == [0, 0, 0, 0.5, 1, 1, 1]
    assert [info["obs_noise"]["severity"] for info in infos] == [0, 0, 0.2, 0.2, 0, 0, 0.2]


def test_randomised_values_leave_out_what_is_held_out():
    env = Perturbed(Echo(), "action_gain=0.5..2 except 0.8..1.5")
    values = []
    for seed in range(500):
        _, info = env.reset(seed=seed)
        values.append(info["perturbations"]["action_gain"]["value"])
    values = np.array(values)
    assert values.min() < 0.52 and values.max() > 1.98
    assert not ((values > 0.8) & (values < 1.5)).any()
    assert 0.3 < (values < 0.8).mean() < 0.45  # 0.3 of 0.8 in length is 0.375


def test_whole_numbers_are_drawn_whole():
    env = Perturbed(Echo(), "obs_delay=1..5 except 2..3")
    drawn = {env.reset(seed=seed)[1]["perturbations"]["obs_delay"]["value"] for seed in range(100)}
    assert drawn == {1, 4, 5}


def test_one_alternative_per_episode():
    env = Perturbed(Echo(), "obs_noise=0.1 | action_gain=0.5 | none")
    chosen = [tuple(env.reset(seed=seed)[1]["perturbations"]) for seed in range(200)]
    assert set(chosen) == {("obs_noise",), ("action_gain",), ()}
    again = [tuple(env.reset(seed=seed)[1]["perturbations"]) for seed in range(200)]
    assert chosen == again


def test_the_task_draws_what_it_draws_without_the_wrapper():
    plain, env = (
        make("Ant-v5"),
        Perturbed(make("Ant-v5"), "push=1 + mass=0.5..2 | rough_ground=0.1"),
    )
    for seed in (3, None, None):
        a, b = plain.reset(seed=seed)[0], env.reset(seed=seed)[0]
        # contact forces, from 27 on, depend on mass
        np.testing.assert_array_equal(a[:27], b[:27])


def test_terms_do_not_disturb_each_others_noise():
    alone = echoes("obs_noise=0.2")[0]
    together = echoes("action_noise=0.3 + obs_noise=0.2")[0]
    np.testing.assert_array_equal(alone, together)


def test_noise_needs_no_mujoco():
    code = (
        "import sys, gymnasium; from envs.perturbations import Perturbed;"
        "Perturbed(gymnasium.make('envs:CueAssociation-v0'), 'obs_noise=0.2').reset(seed=0);"
        "print([m for m in ('torch', 'stable_baselines3', 'mujoco') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr


# ---------------------------------------------------------------- notation and messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mas=1.5", "did you mean 'mass'"),
        ("mass", "cannot read 'mass'"),
        ("mass=1.5 +", "cannot read ''"),
        ("mass:torsoo=1.5", "did you mean 'torso'"),
        ("mass:99=1.5", "there are 7 targets"),
        ("gravity:torso=1.5", "gravity has no targets"),
        ("mass=9", r"mass must be in \[0.3, 3\] \(x nominal\), got 9"),
        ("mass~1.5", "a severity is in"),
        ("obs_delay=1.5", "whole number"),
        ("mass=2..1", "a range rises"),
        ("mass=1..2 except 3..4", "excluded values"),
        ("mass=1.5@rampp(1, 2)", "did you mean 'ramp'"),
        ("mass=1.5@ramp(2, 1)", "two rising steps"),
        ("mass=1.5@periodic(1)", "at least 2 steps"),
        ("mass=1.5@-3", "a schedule is a step"),
        ("gravity_tilt=5", "would change nothing in HalfCheetah-v5: a pull to the side"),
    ],
)
def test_messages_say_what_would_be_right(text, message):
    env = make("HalfCheetah-v5")
    with pytest.raises(ValueError, match=message):
        Perturbed(env, text)
    assert re.search(message, reason_against(env, text))


def test_a_plus_may_belong_to_a_number():
    ((first, second),) = parse("mass=+1.5e+0+slope=-1.5@500", CATALOGUE)
    assert (first.low, second.low, second.schedule.start) == (1.5, -1.5, 500)


@pytest.mark.parametrize("family", CATALOGUE.values(), ids=CATALOGUE)
def test_severity_and_value_are_inverse(family):
    assert family.severity(family.nominal) == 0
    assert family.severity(family.hardest) == 1
    assert family.other is None or family.severity(family.other) == 1
    for severity in (0.25, 0.5, 1):
        assert family.severity(family.value(severity)) == pytest.approx(severity)


@pytest.mark.parametrize("text", ["obs_noise=0.2 + mass=1.5 + push=1", "rough_ground=0.1"])
def test_checkers_accept_it(text):
    env = Perturbed(gym.make("HalfCheetah-v5").unwrapped, text)
    check_gymnasium(env, skip_render_check=True)
    check_sb3(env, skip_render_check=True)


def test_a_spec_makes_it_again():
    env = Perturbed(gym.make("HalfCheetah-v5"), "mass=1.5")
    again = gym.make(env.spec)
    np.testing.assert_array_equal(play(env, 5), play(again, 5))


@pytest.mark.parametrize("spread", [[1.0, 2.0], -1.0, np.nan])
def test_a_spread_has_to_fit(spread):
    with pytest.raises(ValueError, match="spread"):
        Perturbed(Echo(), "obs_noise=0.1", spread=np.array(spread))


def test_the_command_lists_and_verifies(capsys):
    assert run(["list"]) == 0
    assert all(name in capsys.readouterr().out for name in ("mass",))
    assert run(["verify", "--env", "InvertedPendulum-v5", "--only", "mass", "friction"]) == 0
    out = capsys.readouterr().out
    assert "proven" in out and "not applicable: it has no contacts" in out
    with pytest.raises(SystemExit):
        run(["verify", "--only", "mas"])
    assert "did you mean 'mass'" in capsys.readouterr().err
