"""Videos: pace, frames and files, with and without a way to draw, from both command lines."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from urllib.parse import quote

import av
import gymnasium as gym
import numpy as np
import pytest
from conftest import pixels
from stable_baselines3.common.policies import ActorCriticPolicy

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.envs.making import make
from spikepropamine.envs.rendering import INSTALL, Camera, CannotDraw, fitted
from spikepropamine.evaluation.ask.conditions import conditions_of
from spikepropamine.evaluation.ask.lesions import PlasticityOff
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.film import camera
from spikepropamine.evaluation.film.video import (
    HEIGHT,
    WIDTH,
    Take,
    acting_now,
    context_now,
    film,
    mp4,
    pace,
    written,
)
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import save_policy
from spikepropamine.report import evaluate
from spikepropamine.training import command as train

ROOT = Path(__file__).parent.parent


# pace


@pytest.mark.parametrize(
    ("clock", "steps", "rate", "stride"),
    [(20, 1000, 20, 1), (125, 1000, Fraction(125, 3), 3), (None, 60, 3, 1), (None, 5, 2, 1)],
)
def test_a_video_runs_as_fast_as_the_task(clock, steps, rate, stride):
    assert pace(clock, steps) == (rate, stride)


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
    room = np.nonzero(alone)[1].min() - 20  # where the rest begins
    assert (with_title[:, room + 15 :] == alone[:, room + 15 :]).all()
    assert (with_title[:, 10 : room // 2] > 0).any()


def test_a_context_is_told_in_words():
    assert context_now({}) == ""
    assert context_now({"context": [1], "context_began": 0}) == ""  # of the task itself
    info = {"perturbations": {"motor_signs": {"severity": 0.5}, "mass": {"severity": 1}}}
    info |= {"contexts": {"task": [1], "motor_signs": [1, -1]}, "context_began": 0}
    assert context_now(info) == "hidden motor signs: + \N{MINUS SIGN}"
    assert acting_now(info) == ["mass"]
    info |= {"perturbations": {"sensor_order:all": {"severity": 1}}}
    info |= {"contexts": {"sensor_order:all": [2, 0, 1]}, "context_began": 40}
    assert context_now(info) == "hidden sensor order:all: 2 0 1 since step 40"


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
        backend="reference",  # which needs no time to compile
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
    assert len(video.returns) == 1
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


def test_an_episode_can_be_cut_short(tmp_path):
    policy = make_policy(gym.make("CueAssociation-v0"))
    video = film(tmp_path / "cut.mp4", policy, [cue_take()], 7, "a title", max_steps=5)
    assert described(video.path)[4] == 6


def test_a_policy_without_spikes_is_filmed_too(tmp_path):
    env = make("CueAssociation-v0", {"trials": 2})
    mlp = ActorCriticPolicy(env.observation_space, env.action_space, lambda _: 0.0)
    take = Take(lambda arguments: make("CueAssociation-v0", {"trials": 2} | arguments))
    video = film(tmp_path / "mlp.mp4", DeployedPolicy(mlp, None, {}), [take], 7, "a title")
    assert described(video.path)[2:] == ((WIDTH, HEIGHT + 136 + 24), 2, 9)


def test_a_video_that_fails_leaves_nothing(tmp_path):
    frame = np.zeros((16, 16, 3), dtype=np.uint8)
    with pytest.raises(KeyboardInterrupt), mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as add:
        add(frame)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as add:
        add(frame)
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
from spikepropamine.envs.rendering import Camera, CannotDraw, choose_backend
backend = choose_backend()
import gymnasium as gym, numpy as np
from spikepropamine import envs
envs.quiet_mujoco()
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
    assert evaluate.main([str(run), *texts, *options], "evaluate.py") == 0
    folder = run / "evaluations" / "perturb-obs_noise=0.2@8"
    (video,) = (folder / "videos").iterdir()
    assert video.name == "ndp-oja-seed0-obs_noise=0.2@8-side-by-side.mp4"
    assert described(video)[2:] == ((2 * WIDTH, 2 * HEIGHT + 24), 2, 41)
    assert quote(video.name) in (folder / "report.html").read_text()


def test_an_evaluation_leaves_no_video_or_report_of_the_one_before(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    run = save_run(tmp_path / "run", "CueAssociation-v0")
    options = [str(run), "--conditions", "clean", "--episodes", "2", "--overwrite"]
    folder = run / "evaluations" / "standard"
    assert evaluate.main([*options, "--video"], "evaluate.py") == 0
    assert evaluate.main([*options, "--seed", "2000000"], "evaluate.py") == 0
    assert not list((folder / "videos").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "film_asked", stop)
        more = ["--seed", "3000000", "--video"]
        assert evaluate.main([*options, *more], "evaluate.py") == 130
    assert (folder / "results.csv").is_file() and not (folder / "report.html").exists()


def test_every_condition_that_is_named_has_a_film_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(camera, "film", lambda path, *rest, **more: (path.name, rest[3]))
    run = save_run(tmp_path / "run", "CueAssociation-v0")
    runs, task = load_runs([run], range(5, 6))
    texts = ["obs_noise=0.5", "obs_noise~0.5", "obs_noise=0.2"]
    conditions, _ = conditions_of(task, None, texts, [])
    named = [condition.label for condition in conditions]
    films = camera.film_all(runs, task, conditions, named, 5, (), tmp_path)
    assert len(set(films)) == len(conditions) == 4


def test_an_evaluation_without_a_way_to_draw_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    run = save_run(tmp_path / "run", "InvertedPendulum-v5")
    monkeypatch.setattr(evaluate, "choose_backend", lambda: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    options = ["--conditions", "clean", "--episodes", "1", "--workers", "1", "--video"]
    assert evaluate.main([str(run), *options], "evaluate.py") == 1
    output = capsys.readouterr()
    (line,) = [line for line in output.err.splitlines() if "no video" in line]
    assert line.startswith("no video: MuJoCo cannot draw") and line.endswith(INSTALL)
    assert "results are in" in output.out
    assert not (run / "evaluations" / "standard" / "videos").exists()


# training

TINY = [
    "--env", "CueAssociation-v0", "--policy", "ndp-oja", "--steps", "96", "--n-envs", "2",
    "--trainer.n-steps", "16", "--trainer.batch-size", "16", "--trainer.n-epochs", "1",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8", "--backend", "reference",
]  # fmt: skip


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """Trains, in a folder of its own; returns the run folder and standard error."""

    def run(name, *options):
        runs = tmp_path / name
        assert train.main([*TINY, "--runs", str(runs), *options], "train.py") == 0
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

    monkeypatch.setattr("spikepropamine.evaluation.film.video.film", broken)
    folder, error = trained("broken", "--video-every", "32")
    assert (folder / "policy" / "policy.json").is_file()
    assert error.count("no videos from here on: the disk is full") == 1
    assert "and more" not in error


def test_training_where_nothing_can_be_drawn_goes_on(trained, monkeypatch):
    def check(make):
        raise CannotDraw("install something")

    monkeypatch.setattr("spikepropamine.evaluation.film.video.check_drawing", check)
    folder, error = trained("blind", "--video-every", "32")
    assert "no videos: install something" in error
    assert (folder / "policy" / "policy.json").is_file() and not (folder / "videos").exists()
