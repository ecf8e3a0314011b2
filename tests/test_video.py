import json
import os
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.policies import ActorCriticPolicy

import envs  # noqa: F401  registers the environments
import evaluate
import train
from envs.cue_association import CueAssociation
from envs.evidence_accumulation import EvidenceAccumulation
from envs.making import make
from envs.rendering import INSTALL, Camera, CannotDraw, fitted
from evaluation.episodes import run_episodes
from evaluation.lesions import PlasticityOff
from evaluation.panel import (
    ABOVE,
    BELOW,
    INK,
    MARK,
    Curve,
    Outline,
    Panel,
    chosen,
    diverging,
    font,
    reward_rate,
)
from evaluation.recording import Moment
from evaluation.video import HEIGHT, WIDTH, Mp4, Take, film, pace, written
from policies import PlasticSpikingPolicy
from policies.export import DeployedPolicy, save_policy

ROOT = Path(__file__).parent.parent


def panel_of(steps=10, neurons=4, onsets=(), synapses=(4, 3), **changes):
    outline = Outline(np.zeros(steps), onsets, 1, neurons, synapses, True, 1.0)
    arguments = {"window": 5, "width": 512, "height": 384, "bound": 1.0}
    return Panel(outline, [Curve(np.zeros(steps))], **(arguments | changes))


def moment_of(spikes, fast=None):
    spikes = np.array([spikes], dtype=np.float32)
    fast = np.zeros((4, 3), np.float32) if fast is None else fast
    return Moment({}, 0.0, np.zeros(1), spikes, np.zeros_like(spikes), fast)


def pixels(plot, colour):
    """Rows and columns of a plot that have a colour."""
    return np.nonzero((plot == np.array(colour, dtype=np.uint8)).all(axis=2))


# the panel


def test_a_spike_lights_the_pixels_of_its_neuron_and_tick():
    panel = panel_of(steps=10)
    plot = panel.plots["spikes"]
    rows, columns = plot.shape[:2]
    panel.add(moment_of([0, 0, 0, 0]))
    assert not pixels(plot, INK)[0].size
    panel.add(moment_of([1, 0, 0, 0]))  # neuron 0 is at the bottom, step 1 the second of ten
    lit_rows, lit_columns = pixels(plot, INK)
    assert set(lit_rows) == set(range(rows - rows // 4, rows))
    assert set(lit_columns) == set(range(columns // 10, 2 * (columns // 10)))
    panel.add(moment_of([0, 0, 0, 1]))
    top_rows, top_columns = pixels(plot[: rows // 2], INK)
    assert set(top_rows) == set(range(rows // 4))
    assert top_columns.min() == 2 * (columns // 10)


def test_a_full_raster_moves_left():
    panel = panel_of(steps=1000)
    plot = panel.plots["spikes"]
    panel.add(moment_of([1, 1, 1, 1]))
    for _ in range(plot.shape[1] // 2 - 1):
        panel.add(moment_of([0, 0, 0, 0]))
    assert set(pixels(plot, INK)[1]) == {0, 1}
    panel.add(moment_of([1, 1, 1, 1]))
    assert set(pixels(plot, INK)[1]) == {plot.shape[1] - 2, plot.shape[1] - 1}


def test_of_many_neurons_some_are_shown_as_they_are():
    assert list(chosen(5, 100)) == [0, 1, 2, 3, 4]
    assert list(chosen(256, 8)) == [0, 64, 128, 192]
    panel = panel_of(neurons=512)
    spikes = np.zeros(512)
    spikes[chosen(512, len(panel.plots["spikes"]))[:3]] = 1
    spikes[1] = 1  # one that is not shown
    panel.add(moment_of(spikes))
    assert len(set(pixels(panel.plots["spikes"], INK)[0])) in (6, 7)  # two or so pixels for each


def test_a_change_is_marked_when_it_comes_and_not_before():
    panel = panel_of(steps=10, onsets=((3, "joint_lock:0"),))
    for step in range(10):
        marked = {name: pixels(panel.plots[name], MARK)[1] for name in ("spikes", "reward")}
        if step < 3:
            assert not marked["spikes"].size and not marked["reward"].size
        if step > 3:
            width = panel.plots["spikes"].shape[1]
            assert marked["spikes"].min() == pytest.approx(0.3 * width, abs=2)
            assert marked["reward"].min() >= np.floor(0.3 * width)
            assert marked["reward"].max() <= 0.3 * width + 3
        panel.add(moment_of([0, 0, 0, 0]))


def test_fast_weights_are_coloured_symmetrically():
    colours = diverging(np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), 1.0)
    assert tuple(colours[3]) == (255, 255, 255)
    assert tuple(colours[0]) == tuple(colours[1]) == BELOW
    assert tuple(colours[5]) == ABOVE
    # half the value is half the way to the full colour, on either side
    np.testing.assert_allclose(colours[2], (255 + np.array(BELOW)) / 2, atol=0.5)
    np.testing.assert_allclose(colours[4], (255 + np.array(ABOVE)) / 2, atol=0.5)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4)])
def test_a_fast_weight_is_drawn_where_it_belongs(shape):
    fast = np.zeros(shape, np.float32)
    fast[0, -1] = 1.0  # to the first neuron, from the last one
    panel = panel_of(synapses=shape)
    panel.add(moment_of([0, 0, 0, 0], fast))
    plot = panel.plots["fast_weights"]
    rows, columns = pixels(plot, ABOVE)
    height, width = plot.shape[:2]
    # the longer axis lies; neurons are counted from the bottom left
    if shape == (4, 5):
        box = (0.75 * height, height - 1, 0.8 * width, width - 1)
    else:
        box = (0, height / 4, 0, width / 5)
    found = rows.min(), rows.max(), columns.min(), columns.max()
    np.testing.assert_allclose(found, box, atol=1.5)


def test_the_reward_rate_is_a_mean_over_the_last_steps():
    rate = reward_rate(np.array([1.0, 2.0, 3.0, 4.0]), 2)
    np.testing.assert_allclose(rate, [1.0, 1.5, 2.5, 3.5])


def test_a_policy_without_spikes_has_the_reward_rate_alone():
    panel = Panel(Outline(np.ones(5)), [Curve(np.ones(5))], 2, 560, 136, 0.0)
    assert list(panel.plots) == ["reward"]
    panel.add(Moment({}, 1.0, np.zeros(1)))


# pace


@pytest.mark.parametrize(
    ("clock", "steps", "rate", "stride"),
    [(20, 1000, 20, 1), (125, 1000, Fraction(125, 3), 3), (None, 60, 3, 1), (None, 5, 2, 1)],
)
def test_a_video_runs_as_fast_as_the_task(clock, steps, rate, stride):
    assert pace(clock, steps) == (rate, stride)


# pictures of the cue tasks


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


def test_pictures_are_fitted_without_distortion():
    picture = np.zeros((100, 50, 3), dtype=np.uint8)
    result = fitted(picture, 60, 40)
    assert result.shape == (40, 60, 3)
    dark = pixels(result, (0, 0, 0))
    assert np.ptp(dark[0]) + 1 == 40 and np.ptp(dark[1]) + 1 == 20


def test_a_long_title_leaves_room_for_the_rest():
    background = np.zeros((24, 300, 3), dtype=np.uint8)
    alone = written(background, "", "episode 7")
    with_title = written(
        background, "a title that is longer than the picture is wide " * 3, "episode 7"
    )
    room = 300 - 30 - round(font(13).getlength("episode 7"))
    assert (with_title[:, room + 15 :] == alone[:, room + 15 :]).all()
    assert (with_title[:, 10 : room // 2] > 0).any()


# the file


def described(path):
    """Codec, pixel format, size, rate and number of the frames of a video, by decoding it."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = sum(1 for _ in file.decode(stream))
        context = stream.codec_context
        size = (stream.width, stream.height)
        return context.name, context.pix_fmt, size, stream.average_rate, frames


def make_policy(env):
    policy = PlasticSpikingPolicy(
        env.observation_space,
        env.action_space,
        lambda _: 0.0,
        network={"hidden": (24, 16), "plastic": (False, True), "rule": "oja",
                 "modulation": "direct", "ticks": 2, "input_gain": 4.0},
    )  # fmt: skip
    return DeployedPolicy(policy, None, {})


def cue_take(perturb=None, name="", hook=None):
    def create(arguments):
        return make("CueAssociation-v0", {"trials": 4} | arguments, perturb)

    return Take(create, name, hook)


def test_a_video_of_a_cue_task(tmp_path):
    policy = make_policy(gym.make("CueAssociation-v0"))
    path = tmp_path / "cue.mp4"
    video = film(path, policy, [cue_take()], 7, "a title")
    # 4 trials of 4 steps, and the picture before the first
    size = (2 * WIDTH, HEIGHT + 24)
    assert described(path) == ("h264", "yuv420p", size, 2, 17)
    assert (video.frames, video.rate, video.onset) == (17, 2.0, None)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    assert os.listdir(tmp_path) == ["cue.mp4"]


def test_a_video_shows_the_episode_that_is_evaluated(tmp_path):
    policy = make_policy(gym.make("CueAssociation-v0"))
    hook = PlasticityOff(policy.policy.layout, 2)
    video = film(
        tmp_path / "cue.mp4",
        policy,
        [cue_take(), cue_take(hook=lambda: hook)],
        23,
        "a title",
        width=10,
    )
    for total, hooks in zip(video.returns, ((), (hook,))):
        state = policy.policy.initial_state(10)
        create = partial(make, "CueAssociation-v0", {"trials": 4})
        (episode,) = run_episodes(policy, create, [23], width=10, initial_state=state, hooks=hooks)
        assert total == episode.total_reward


def test_side_by_side_shows_both_and_where_the_world_changes(tmp_path):
    policy = make_policy(gym.make("CueAssociation-v0"))
    hook = partial(PlasticityOff, policy.policy.layout, 0)
    takes = [cue_take("obs_noise=0.2@8", "on"), cue_take("obs_noise=0.2@8", "off", hook)]
    video = film(tmp_path / "two.mp4", policy, takes, 7, "a title")
    assert described(video.path)[2] == (2 * WIDTH, 2 * HEIGHT + 24)
    assert video.onset == 8 and len(video.returns) == 2


def test_an_episode_can_be_cut_short(tmp_path):
    policy = make_policy(gym.make("CueAssociation-v0"))
    video = film(tmp_path / "cut.mp4", policy, [cue_take()], 7, "a title", max_steps=5)
    assert described(video.path)[4] == video.frames == 6


def test_a_policy_without_spikes_is_filmed_too(tmp_path):
    env = make("CueAssociation-v0", {"trials": 2})
    mlp = ActorCriticPolicy(env.observation_space, env.action_space, lambda _: 0.0)
    take = Take(lambda arguments: make("CueAssociation-v0", {"trials": 2} | arguments))
    video = film(tmp_path / "mlp.mp4", DeployedPolicy(mlp, None, {}), [take], 7, "a title")
    assert described(video.path)[2:] == ((WIDTH, HEIGHT + 136 + 24), 2, 9)


def test_a_video_that_fails_leaves_nothing(tmp_path):
    frame = np.zeros((16, 16, 3), dtype=np.uint8)
    with pytest.raises(KeyboardInterrupt), Mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as mp4:
        mp4.add(frame)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with Mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as mp4:
        mp4.add(frame)
    assert described(tmp_path / "x.mp4")[2:] == ((16, 16), 5, 1)


def test_what_has_no_pictures_says_so():
    class Blind(gym.Env):
        observation_space = action_space = gym.spaces.Discrete(2)

    with pytest.raises(CannotDraw, match="Blind has no render mode rgb_array"):
        Camera(Blind(), 8, 8)


# MuJoCo, each in a process of its own: the way to draw is settled when MuJoCo is imported


def python(code, **environment):
    variables = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ROBOT = """
import json
from envs.rendering import Camera, CannotDraw, choose_backend
backend = choose_backend()
import gymnasium as gym, numpy as np
import envs
envs.quiet_mujoco()
from envs.perturbations.model import same_model
import copy
env = gym.make("HalfCheetah-v5")
env.reset(seed=0)
task = env.unwrapped
before = copy.copy(task.model)
camera = Camera(env, 120, 90)
def picture(x):
    position = task.data.qpos.copy()
    position[0] = x
    task.set_state(position, task.data.qvel)
    return camera.picture().astype(int)
try:
    # 60 repeats of two fields on 80 m: the picture is the same every 4/3 m, off the floor too
    here, there, half = picture(0.0), picture(400.0), picture(2 / 3)
    found = {
        "shape": here.shape, "spread": float(here.std()),
        "far": float(np.abs(here - there).mean()), "half": float(np.abs(here - half).mean()),
        "floor": task.model.geom_size.tolist() == before.geom_size.tolist(),
    }
except CannotDraw as error:
    found = {"error": str(error)}
print(json.dumps({"backend": backend} | found))
"""


def test_a_robot_is_filmed_and_the_ground_never_ends():
    found = json.loads(python(ROBOT).splitlines()[-1])
    if found["backend"] is None:
        assert found["error"].endswith(INSTALL)
        return
    assert found["shape"] == [90, 120, 3] and found["spread"] > 20
    assert found["far"] < 2 < found["half"]
    assert found["floor"]


def test_a_machine_that_cannot_draw_is_told_what_to_install(tmp_path):
    (tmp_path / "OpenGL").mkdir()
    (tmp_path / "OpenGL" / "__init__.py").write_text("raise ImportError('no GL here')")
    found = json.loads(python(ROBOT, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}").splitlines()[-1])
    assert found["backend"] is None
    assert found["error"].endswith(INSTALL) and "\n" not in found["error"]


def test_a_backend_of_the_users_is_not_replaced():
    found = json.loads(python(ROBOT, MUJOCO_GL="disable").splitlines()[-1])
    assert found["backend"] is None and "unset it" in found["error"]


# the command line


def save_run(folder, environment):
    policy = make_policy(gym.make(environment))
    settings = {
        "policy": "ndp-oja", "env": environment, "env_kwargs": {}, "seed": 0, "n_envs": 2,
    }  # fmt: skip
    save_policy(folder / "policy", policy.policy, metadata={"settings": settings, "steps": 1000})
    return folder


def test_evaluation_films_what_was_asked_for(tmp_path, monkeypatch):
    run = save_run(tmp_path / "run", "CueAssociation-v0")
    options = ["--episodes", "2", "--workers", "1", "--video", "side-by-side"]
    texts = ["--perturb", "obs_noise=0.2@8"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(run), *texts, *options])
    assert evaluate.main() == 0
    folder = run / "evaluations" / "perturb"
    (video,) = (folder / "videos").iterdir()
    assert video.name == "ndp-oja-seed0-obs_noise_0.2_8-side-by-side.mp4"
    assert described(video)[2:] == ((2 * WIDTH, 2 * HEIGHT + 24), 2, 41)
    assert video.name in (folder / "report.html").read_text()


def test_an_evaluation_without_a_way_to_draw_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    run = save_run(tmp_path / "run", "InvertedPendulum-v5")
    monkeypatch.setattr(evaluate, "choose_backend", lambda: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    options = ["--conditions", "clean", "--episodes", "1", "--workers", "1", "--video"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(run), *options])
    assert evaluate.main() == 1
    output = capsys.readouterr()
    (line,) = [line for line in output.err.splitlines() if "no video" in line]
    assert line.startswith("evaluate.py: no video: MuJoCo cannot draw") and line.endswith(INSTALL)
    assert "results are in" in output.out
    assert not (run / "evaluations" / "standard" / "videos").exists()


# training

TINY = [
    "--env", "CueAssociation-v0", "--policy", "ndp-oja", "--steps", "96", "--n-envs", "2",
    "--trainer.n-steps", "16", "--trainer.batch-size", "16", "--trainer.n-epochs", "1",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8",
]  # fmt: skip


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """Trains, in a folder of its own; returns the run folder and standard error."""

    def run(name, *options):
        runs = tmp_path / name
        monkeypatch.setattr(sys, "argv", ["train.py", *TINY, "--runs", str(runs), *options])
        assert train.main() == 0
        return runs / "CueAssociation-v0" / "ndp-oja" / "seed-0", capsys.readouterr().err

    return run


def weights(folder):
    return (folder / "policy" / "weights.safetensors").read_bytes()


def test_training_makes_videos_and_is_the_same_as_without(trained):
    plain, _ = trained("plain")
    filmed, _ = trained("filmed", "--video-every", "32")
    names = sorted(path.name for path in (filmed / "videos").iterdir())
    assert names == [f"ndp-oja-seed0-step{step:09d}.mp4" for step in (32, 64)]
    assert described(filmed / "videos" / names[0])[2:] == ((2 * WIDTH, HEIGHT + 24), 2, 41)
    assert weights(plain) == weights(filmed)


def test_a_video_that_fails_does_not_stop_training(trained, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the disk is full\nand more")

    monkeypatch.setattr("evaluation.video.film", broken)
    folder, error = trained("broken", "--video-every", "32")
    assert (folder / "policy" / "policy.json").is_file()
    assert error.count("no videos from here on: the disk is full") == 1
    assert "and more" not in error


def test_training_where_nothing_can_be_drawn_goes_on(trained, monkeypatch):
    def check(make):
        raise CannotDraw("install something")

    monkeypatch.setattr("evaluation.video.check_drawing", check)
    folder, error = trained("blind", "--video-every", "32")
    assert "train.py: no videos: install something" in error
    assert (folder / "policy" / "policy.json").is_file() and not (folder / "videos").exists()
