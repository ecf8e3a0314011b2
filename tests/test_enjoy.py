"""`spikepropamine enjoy`: live where there is a display, else a video; trained policies
by name.
"""

import gymnasium as gym
import pytest
from conftest import Endless
from saved_runs import CUES, make_policy, save_run

from spikepropamine.__main__ import main as command_line
from spikepropamine.common import UsageError
from spikepropamine.export import enjoy
from spikepropamine.folder import find
from spikepropamine.policies.export import save_policy


class Window(Endless):
    """A task with a window, which counts what it draws."""

    metadata = {"render_modes": ["human"], "render_fps": 50}
    drawn = 0

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def step(self, action):
        Window.drawn += self.render_mode == "human"
        return super().step(action)


@pytest.fixture
def window_run(tmp_path):
    gym.register("Window-v0", Window, max_episode_steps=12)
    settings = {
        "env": "Window-v0",
        "policy": "ndp-oja",
        "seed": 0,
        "n_envs": 1,
        "env_kwargs": {},
    }
    policy = make_policy("Window-v0").policy
    save_policy(
        tmp_path / "policy", policy, metadata={"settings": settings, "steps": 1}
    )
    yield tmp_path
    del gym.registry["Window-v0"]


def test_live_where_there_is_a_display(window_run, monkeypatch, capsys):
    monkeypatch.setattr(enjoy, "has_display", lambda: True)
    Window.drawn = 0
    assert enjoy.main([str(window_run)]) == 0
    assert Window.drawn == 12
    assert capsys.readouterr().out == "return 12.0\n"


@pytest.mark.parametrize("display", [True, False])
def test_a_video_where_the_task_has_no_window_or_the_machine_no_display(
    display, tmp_path, monkeypatch, capsys
):
    """It is opened where that is asked for and can be."""
    opened = []
    monkeypatch.setattr(enjoy, "has_display", lambda: display)
    monkeypatch.setattr(enjoy.webbrowser, "open", opened.append)
    run = save_run(tmp_path, CUES, "ndp-oja")
    assert enjoy.main([str(run), "--perturb", "obs_noise=0.1@10", "--open"]) == 0
    (video,) = (run / "videos").glob("*.mp4")
    assert str(video) in capsys.readouterr().out and video.stat().st_size > 1000
    assert opened == [video.as_uri()] * display


def test_trained_policies_have_names():
    found = find("robots/Swimmer-v5/snn")
    with pytest.raises(
        UsageError, match="3 policies: robots/Swimmer-v5/snn, robots-random"
    ):
        find("Swimmer-v5/snn")
    assert found.parts[-4:-1] == ("robots", "Swimmer-v5", "snn")
    assert find("spikes/CueAssociation-v0/ndp-oja").parts[-1] == "seed-0"
    with pytest.raises(UsageError, match="did you mean 'robots/Swimmer-v5/snn'"):
        find("robots/Swimer-v5/snn")
    with pytest.raises(
        UsageError, match=f"{found.parent} is no run folder; below it is {found}"
    ):
        find(found.parent)
    assert find(found / "policy") == found


def test_nothing_is_written_through_a_link(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(enjoy, "has_display", lambda: False)
    run = save_run(tmp_path, CUES, "ndp-oja")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, command in (
        ("videos", ["enjoy"]),
        ("exports", ["export", "--format", "onnx"]),
    ):
        (run / name).symlink_to(elsewhere)
        assert command_line([*command, str(run)]) == 2
        assert f"{run / name} is a link; say with --" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_what_does_not_work_is_one_line(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "ndp-oja")
    assert command_line(["enjoy", str(run), "--perturb", "mass=2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_name_of_a_film_is_no_folder(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "mlp")
    film = tmp_path / "film.mp4"
    assert command_line(["enjoy", str(run), "--video", str(film)]) == 2
    assert "--video takes a folder" in capsys.readouterr().err
    assert not film.exists()


def test_a_place_that_cannot_be_written_to_is_named_with_its_option(tmp_path):
    run = save_run(tmp_path, CUES, "mlp")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="give another by --video"):
        enjoy.main([str(run), "--video", str(tmp_path / "file" / "videos")])
