"""Videos: pace, frames and files, the panel beside them, from both command lines."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from functools import partial
from urllib.parse import quote

import av
import numpy as np
import pytest
from conftest import pixels
from saved_runs import CUES, ROOT, make_policy, save_run
from stable_baselines3.common.policies import ActorCriticPolicy

from spikepropamine.colours import ABOVE, BELOW, diverging, rgb
from spikepropamine.envs.making import make
from spikepropamine.envs.rendering import INSTALL, CannotDraw
from spikepropamine.evaluation.ask.lesions import PlasticityOff
from spikepropamine.evaluation.film.panel import INK, MARK, Outline, Panel
from spikepropamine.evaluation.film.video import HEIGHT, WIDTH, Take, film, mp4, pace
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.evaluation.run.watched import Moment
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.report import evaluate
from spikepropamine.training import run as train

# pace


@pytest.mark.parametrize(
    ("clock", "steps", "rate", "stride"),
    [
        (20, 1000, 20, 1),
        (125, 1000, Fraction(125, 3), 3),
        (None, 60, 3, 1),
        (None, 5, 2, 1),
    ],
)
def test_a_video_runs_as_fast_as_the_task(clock, steps, rate, stride):
    assert pace(clock, steps) == (rate, stride)


# the file


def described(path):
    """Codec, pixel format, size, rate and number of the frames of a video, by decoding
    it.
    """
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = sum(1 for _ in file.decode(stream))
        context = stream.codec_context
        size = (stream.width, stream.height)
        return context.name, context.pix_fmt, size, stream.average_rate, frames


def cue_take(perturb=None, name="", hook=None):
    def create(arguments):
        return make("CueAssociation-v0", {"trials": 4} | arguments, perturb)

    return Take(create, name, hook)


def test_a_video_of_a_cue_task(tmp_path):
    policy = make_policy(CUES)
    path = tmp_path / "cue.mp4"
    returns = film(path, policy, [cue_take()], 7, "a title")
    # 4 trials of 4 steps, and the picture before the first
    size = (2 * WIDTH, HEIGHT + 24)
    assert described(path) == ("h264", "yuv420p", size, 2, 17)
    assert len(returns) == 1
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    assert os.listdir(tmp_path) == ["cue.mp4"]


def test_a_video_shows_the_episode_that_is_evaluated(tmp_path):
    policy = make_policy(CUES)
    hook = PlasticityOff(policy.policy.layout, 2)
    returns = film(
        tmp_path / "cue.mp4",
        policy,
        [cue_take(), cue_take(hook=lambda: hook)],
        23,
        "a title",
        width=10,
    )
    for total, hooks in zip(returns, ((), (hook,))):
        state = policy.policy.initial_state(10)
        create = partial(make, "CueAssociation-v0", {"trials": 4})
        (episode,) = run_episodes(
            policy, create, [23], width=10, initial_state=state, hooks=hooks
        )
        assert total == episode.total_reward


def test_a_policy_without_spikes_is_filmed_too(tmp_path):
    env = make("CueAssociation-v0", {"trials": 2})
    mlp = ActorCriticPolicy(env.observation_space, env.action_space, lambda _: 0.0)
    take = Take(lambda arguments: make("CueAssociation-v0", {"trials": 2} | arguments))
    film(tmp_path / "mlp.mp4", DeployedPolicy(mlp, None, {}), [take], 7, "a title")
    assert described(tmp_path / "mlp.mp4")[2:] == ((WIDTH, HEIGHT + 136 + 24), 2, 9)


def test_a_video_that_fails_leaves_nothing(tmp_path):
    frame = np.zeros((16, 16, 3), dtype=np.uint8)
    with (
        pytest.raises(KeyboardInterrupt),
        mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as add,
    ):
        add(frame)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with mp4(tmp_path / "x.mp4", 16, 16, Fraction(5)) as add:
        add(frame)
    assert described(tmp_path / "x.mp4")[2:] == ((16, 16), 5, 1)


# MuJoCo, each in a process of its own: the way to draw is settled when MuJoCo is
# imported


def python(code, **environment):
    variables = {
        k: v
        for k, v in os.environ.items()
        if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")
    }
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
    # 60 repeats of two fields on 80 m: the picture is the same every 4/3 m, off the
    # floor too
    here, there, half = picture(0.0), picture(400.0), picture(2 / 3)
    found = {
        "shape": here.shape, "spread": float(here.std()),
        "far": float(np.abs(here - there).mean()),
        "half": float(np.abs(here - half).mean()),
        "floor": task.model.geom_size.tolist() == before.geom_size.tolist(),
    }
    for _ in range(20):
        task.data.qvel[0] = 30.0  # faster than any robot runs
        env.step(np.zeros(6))
        camera.picture()
    behind = camera._lookat - task.data.subtree_com[camera._view.trackbodyid]
    found["behind"] = np.linalg.norm(behind) / camera._view.distance
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
    assert (
        0.19 < found["behind"] < 0.21
    )  # the camera follows late, and the robot stays in view


def test_a_machine_that_cannot_draw_is_told_what_to_install(tmp_path):
    (tmp_path / "OpenGL").mkdir()
    (tmp_path / "OpenGL" / "__init__.py").write_text("raise ImportError('no GL here')")
    found = json.loads(
        python(ROBOT, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}").splitlines()[-1]
    )
    assert found["backend"] is None
    assert found["error"].endswith(INSTALL) and "\n" not in found["error"]


# the command line


def test_evaluation_films_what_was_asked_for(tmp_path, monkeypatch):
    run = save_run(tmp_path, CUES, "ndp-oja")
    options = ["--episodes", "2", "--workers", "1", "--video", "side-by-side"]
    texts = ["--perturb", "obs_noise=0.2@8"]
    assert evaluate.main([str(run), *texts, *options], "evaluate.py") == 0
    folder = run / "evaluations" / "perturb-obs_noise=0.2@8"
    (video,) = (folder / "videos").iterdir()
    assert video.name == "ndp-oja-seed0-obs_noise=0.2@8-side-by-side.mp4"
    assert described(video)[2:] == ((2 * WIDTH, 2 * HEIGHT + 24), 2, 17)
    assert quote(video.name) in (folder / "report.html").read_text()


def test_an_evaluation_without_a_way_to_draw_says_so_and_goes_on(
    tmp_path, monkeypatch, capsys
):
    run = save_run(tmp_path, "InvertedPendulum-v5", "ndp-oja")
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
    "--env", "CueAssociation-v0", "--policy", "ndp-oja", "--steps", "96", "--n-envs",
    "2",
    "--trainer.n-steps", "16", "--trainer.batch-size", "16", "--trainer.n-epochs", "1",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8", "--backend",
    "reference",
]  # fmt: skip


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """Trains, in a folder of its own; returns the run folder and standard error."""

    def run(name, *options):
        runs = tmp_path / name
        assert train.main([*TINY, "--runs", str(runs), *options], "train.py") == 0
        return (
            runs / "CueAssociation-v0" / "ndp-oja" / "seed-0",
            capsys.readouterr().err,
        )

    return run


def weights(folder):
    return (folder / "policy" / "weights.safetensors").read_bytes()


def test_training_makes_videos_and_is_the_same_as_without(trained):
    plain, _ = trained("plain")
    filmed, _ = trained("filmed", "--video-every", "32")
    names = sorted(path.name for path in (filmed / "videos").iterdir())
    assert names == [f"ndp-oja-seed0-step{step:09d}.mp4" for step in (32, 64, 96)]
    assert described(filmed / "videos" / names[0])[2:] == (
        (2 * WIDTH, HEIGHT + 24),
        2,
        41,
    )
    assert weights(plain) == weights(filmed)


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (
            "film",
            RuntimeError("the disk is full\nand more"),
            "from here on: the disk is full\n",
        ),
        (
            "check_drawing",
            CannotDraw("install something"),
            "no videos: install something",
        ),
    ],
)
def test_a_training_goes_on_where_nothing_can_be_filmed(
    trained, monkeypatch, step, error, words
):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(f"spikepropamine.evaluation.film.video.{step}", broken)
    folder, said = trained("broken", "--video-every", "32")
    assert (folder / "policy" / "policy.json").is_file() and said.count(words) == 1


def panel_of(steps=10, neurons=4, onsets=(), synapses=(4, 3)):
    last = moment_of(np.zeros(neurons), np.zeros(synapses))
    return Panel([Outline(np.zeros(steps), last, onsets, largest=1.0)], 512, 384)


def moment_of(spikes, fast=None):
    spikes = np.array([spikes], dtype=np.float32)
    fast = np.zeros((4, 3), np.float32) if fast is None else fast
    return Moment({}, 0.0, np.zeros(1), spikes, np.zeros_like(spikes), fast)


def test_a_spike_lights_the_pixels_of_its_neuron_and_tick():
    panel = panel_of(steps=10)
    plot = panel.plots["spikes"]
    rows, columns = plot.shape[:2]
    panel.add(moment_of([0, 0, 0, 0]))
    assert not pixels(plot, INK)[0].size
    panel.add(
        moment_of([1, 0, 0, 0])
    )  # neuron 0 is at the bottom, step 1 the second of ten
    lit_rows, lit_columns = pixels(plot, INK)
    found = lit_rows.min(), lit_rows.max(), lit_columns.min(), lit_columns.max()
    box = (0.75 * rows, rows - 1, 0.1 * columns, 0.2 * columns - 1)
    np.testing.assert_allclose(found, box, atol=1)
    panel.add(moment_of([0, 0, 0, 1]))
    top_rows, top_columns = pixels(plot[: rows // 2], INK)
    found = top_rows.min(), top_rows.max(), top_columns.min(), top_columns.max()
    box = (0, 0.25 * rows - 1, 0.2 * columns, 0.3 * columns - 1)
    np.testing.assert_allclose(found, box, atol=1)


def test_a_change_is_marked_when_it_comes_and_not_before():
    panel = panel_of(steps=10, onsets=(3,))
    for step in range(10):
        marked = {
            name: pixels(panel.plots[name], MARK)[1] for name in ("spikes", "reward")
        }
        if step < 3:
            assert not marked["spikes"].size and not marked["reward"].size
        if step > 3:
            width = panel.plots["spikes"].shape[1]
            for columns in marked.values():
                assert columns.min() == pytest.approx(0.3 * width, abs=2)
                assert columns.max() == pytest.approx(0.3 * width, abs=3)
        panel.add(moment_of([0, 0, 0, 0]))


def test_fast_weights_are_coloured_symmetrically():
    colours = diverging(np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), 1.0)
    assert tuple(colours[3]) == (255, 255, 255)
    assert tuple(colours[0]) == tuple(colours[1]) == rgb(BELOW)
    assert tuple(colours[5]) == rgb(ABOVE)
    # half the value is half the way to the full colour, on either side
    np.testing.assert_allclose(colours[2], (255 + np.array(rgb(BELOW))) / 2, atol=0.5)
    np.testing.assert_allclose(colours[4], (255 + np.array(rgb(ABOVE))) / 2, atol=0.5)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4)])
def test_a_fast_weight_is_drawn_where_it_belongs(shape):
    fast = np.zeros(shape, np.float32)
    fast[0, -1] = 1.0  # to the first neuron, from the last one
    panel = panel_of(synapses=shape)
    panel.add(moment_of([0, 0, 0, 0], fast))
    plot = panel.plots["fast_weights"]
    rows, columns = pixels(plot, rgb(ABOVE))
    height, width = plot.shape[:2]
    # the longer axis lies; neurons are counted from the bottom left
    if shape == (4, 5):
        box = (0.75 * height, height - 1, 0.8 * width, width - 1)
    else:
        box = (0, height / 4, 0, width / 5)
    found = rows.min(), rows.max(), columns.min(), columns.max()
    np.testing.assert_allclose(found, box, atol=1.5)


def test_a_layer_of_graded_units_has_the_panel_without_spikes():
    moment = Moment(
        {}, 1.0, np.zeros(1), None, np.ones((2, 4), np.float32), np.ones((4, 3))
    )
    panel = Panel([Outline(np.ones(5), moment, largest=1.0)], 560, 400)
    assert set(panel.plots) == {"modulator", "fast_weights", "reward"}
    panel.add(moment)
    assert pixels(panel.plots["modulator"], rgb(ABOVE))[0].size
