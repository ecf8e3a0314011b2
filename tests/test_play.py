"""`spikepropamine play`: a server on this machine alone, strict about what it gives;
and the web socket of tasks that Python steps.
"""

import http.client
import json
import threading
from contextlib import contextmanager

import pytest
from saved_runs import save_run

from spikepropamine.__main__ import main as command_line
from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.run.watched import Moment
from spikepropamine.export import live, play
from spikepropamine.export.built import ASSETS
from spikepropamine.server import Server, files_below

INDEX = """<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; connect-src 'self'">"""
CONTENTS = {"index.html": INDEX.encode(), "a.js": b"1", "data/index.json": b"{}"}


@contextmanager
def served(contents=CONTENTS, socket_port=None):
    server = Server(contents, 0, socket_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(server, path, host=None, method="GET"):
    """Status, headers and body of a request, whose path is sent as it is."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    found = connection.getresponse()
    body = found.read()
    connection.close()
    return found.status, dict(found.getheaders()), body


def test_what_is_listed_is_served_with_a_strict_policy():
    with served() as server:
        assert server.address.startswith("http://127.0.0.1:")
        status, headers, body = answer(server, "/")
        assert (status, body) == (200, INDEX.encode())
        policy = headers["Content-Security-Policy"]
        assert (
            policy == "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        status, headers, body = answer(server, "/a.js?x=1")
        assert (status, body) == (200, b"1")
        assert headers["Content-Type"].startswith("text/javascript")
        assert answer(server, "/a.js", method="HEAD")[2] == b""


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "//etc/passwd", "/data", "/data/",
     "/data/../a.js", "/A.js", "/a.js/", "/%00", "/..%5ca.js"],
)  # fmt: skip
def test_nothing_else_is_served(path):
    with served() as server:
        assert answer(server, path)[0] == 404


def test_no_other_site_can_have_its_name_point_here():
    with served() as server:
        port = server.server_address[1]
        assert answer(server, "/", host=f"localhost:{port}")[0] == 200
        # as browsers ask where the port is 80
        assert answer(server, "/", host="localhost")[0] == 200
        for host in (f"evil.example:{port}", "evil.example", ""):
            assert answer(server, "/", host=host or "x:1")[0] == 403


def test_only_a_task_that_python_steps_has_a_socket_in_its_policy():
    with served(socket_port=4242) as server:
        _, headers, body = answer(server, "/")
        said = "connect-src 'self' ws://127.0.0.1:4242"
        assert said in headers["Content-Security-Policy"]
        assert said in body.decode()


def test_nothing_can_be_sent_to_it():
    with served() as server:
        assert answer(server, "/", method="POST")[0] == 501


def test_links_are_not_served(tmp_path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "page" / "file").write_text("f")
    assert list(files_below(tmp_path / "page")) == ["file"]


def test_a_busy_port_is_one_line():
    with served() as server, pytest.raises(UsageError, match="cannot be had"):
        Server(CONTENTS, server.server_address[1], None)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A page that is built, of one policy, and a server that ends at once, as by
    Ctrl-C.
    """
    assets = tmp_path / "assets"
    (assets / "data").mkdir(parents=True)
    (assets / "index.html").write_text(INDEX)
    (assets / "data" / "index.json").write_text('{"policies": ["other"]}')
    monkeypatch.setattr(play, "ASSETS", assets)
    monkeypatch.setattr(play, "choose_backend", lambda: None)
    monkeypatch.setattr(play, "has_display", lambda: False)
    seen = {}

    def interrupted(server):
        seen.update(server.contents)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    return seen


def index_of(seen):
    return json.loads(seen["data/index.json"])


def test_a_run_of_ones_own_comes_first_and_no_name_is_markup(built, tmp_path, capsys):
    pytest.importorskip("onnx")
    run = save_run(tmp_path / "<img src=x>", "HalfCheetah-v5", "ndp-oja")
    assert play.main([str(run), "--perturb", "motor_signs=5 + strength:bfoot=0.5"]) == 0
    place, *others = index_of(built)["policies"]
    assert others == ["other"]
    assert "<" not in place
    assert {"card.json", "policy.onnx", "model.xml"} == {
        path.rpartition("/")[2] for path in built if f"/{place}/" in path
    }
    assert index_of(built)["perturb"] == [
        {"family": "motor_signs", "target": None, "value": 5},
        {"family": "strength", "target": "bfoot", "value": 0.5},
    ]
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_a_run_is_not_taken_for_a_built_one_of_its_name(built, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(save_run(tmp_path, "Swimmer-v5", "ndp-oja"))
    assert play.main(["."]) == 0
    place, _ = index_of(built)["policies"]
    assert place.strip("._")
    monkeypatch.chdir(tmp_path)
    folder = "Swimmer-v5/ndp-oja/seed-0"
    shown = json.dumps({"policies": [play.plain_name(folder)]})
    (play.ASSETS / "data" / "index.json").write_text(shown)
    assert play.main([folder]) == 0
    own, other = index_of(built)["policies"]
    assert own == place != other


def test_without_a_name_it_is_the_page_of_the_documentation(built):
    assert play.main([]) == 0
    assert index_of({"data/index.json": built["data/index.json"].read_bytes()}) == {
        "policies": ["other"]
    }


@pytest.mark.parametrize(
    "text",
    ["obs_delay=2", "mass=1.5@50", "motor_signs=seen", "mass:torso=2", "joint_lock=1",
     "strength:0=0.5"],
)  # fmt: skip
def test_what_the_page_has_not_is_stepped_by_python(built, tmp_path, text):
    pytest.importorskip("websockets")
    run = save_run(tmp_path, "HalfCheetah-v5", "ndp-oja")
    assert play.main([str(run), "--perturb", text]) == 0
    assert index_of(built)["live"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["motor-sgns"], "neither a run folder nor in trained/"),
        (["--perturb", "mass=2"], "needs a RUN or NAME"),
        (
            ["cue-ppo/CueAssociation-v0/ndp-oja", "--perturb", "mass=2"],
            "change nothing",
        ),
        (["--port", "70000"], "port 70000"),
    ],
)
def test_bad_input_is_one_line(built, words, said, capsys):
    assert command_line(["play", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_page_that_is_not_built_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(play, "ASSETS", tmp_path)
    assert command_line(["play"]) == 2
    assert "`make page`" in capsys.readouterr().err


class Socket:
    """A visitor: what he does at each moment, until he leaves."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.sent = []

    def send(self, message):
        self.sent.append(message)

    def recv(self, timeout):
        if not self.messages:
            raise ConnectionAbortedError
        message = self.messages.pop(0)
        if message is None:
            raise TimeoutError
        return message if isinstance(message, str) else json.dumps(message)

    @property
    def said(self):
        return [
            json.loads(message) for message in self.sent if isinstance(message, str)
        ]


def visited(tmp_path, *messages, text=None):
    (run,), task = load_runs([save_run(tmp_path, "Pendulum-v1", "ndp-oja")])
    visit = live.Visit(Socket(*messages), run, task, text)
    with pytest.raises(ConnectionAbortedError):
        visit.go()
    return visit


def test_python_steps_robot_and_twin_and_sends_what_goes_on(tmp_path):
    visit = visited(tmp_path, None, None, None)
    start, _, *steps = visit.socket.said
    assert (start["kind"], start["twin"], start["environment"]) == (
        "start", True, "Pendulum-v1",
    )  # fmt: skip
    assert [step["kind"] for step in steps] == ["step"] * 4
    assert all(len(step["rewards"]) == 2 for step in steps)
    parts = [message for message in visit.socket.sent if isinstance(message, bytes)]
    assert len(parts) == sum(step["parts"] for step in steps)
    assert len(parts[0]) == 4 * 16 * 24


def fast_weights(visit):
    """Those that were sent with each step: the largest."""
    import numpy as np

    parts = [message for message in visit.socket.sent if isinstance(message, bytes)]
    return [float(np.abs(np.frombuffer(part, "<f4")).max()) for part in parts]


def test_the_plug_is_pulled_and_put_in_again(tmp_path):
    off, on = ({"do": "plasticity", "mode": mode} for mode in ("off", "on"))
    wait = [None] * 5
    largest = fast_weights(visited(tmp_path, *wait, off, None, None, on, *wait))
    assert largest[4] > 0
    assert 0.0 in largest
    assert largest[-1] > 0


def test_what_was_learned_is_forgotten_and_frozen(tmp_path):
    frozen = {"do": "plasticity", "mode": "frozen"}
    forget = {"do": "forget"}
    largest = fast_weights(
        visited(tmp_path, *[None] * 5, frozen, None, None, forget, None, None)
    )
    assert largest[-1] == 0.0
    kept = [x for x in largest[6:] if x]
    assert len(set(kept)) == 1


def test_the_world_is_changed_by_a_text_and_a_wrong_one_is_refused(tmp_path):
    wrong, right = (
        {"do": "perturb", "text": text} for text in ("mas=2", "obs_noise=0.5")
    )
    said = visited(tmp_path, wrong, None, right, None).socket.said
    refused = [one["message"] for one in said if one["kind"] == "refused"]
    assert len(refused) == 1
    assert "mass" in refused[0]
    assert [one["text"] for one in said if one["kind"] == "start"] == [
        "",
        "obs_noise=0.5",
    ]


@pytest.mark.parametrize(
    "message",
    ["no json", "[]", {"do": "restart", "seed": -1},
     {"do": "restart", "seed": True}, {"do": "speed", "speed": 0},
     {"do": "plasticity", "mode": "x"}, {"do": "perturb", "text": 3}, {"do": "run"}],
)  # fmt: skip
def test_what_a_page_cannot_say_is_left_undone(tmp_path, message):
    visit = visited(tmp_path, message, None)
    assert visit.speed == 1.0
    assert visit.show.hand.mode == "on"
    assert len([one for one in visit.socket.said if one["kind"] == "start"]) == 1


def test_a_pause_a_step_and_a_restart(tmp_path):
    messages = [{"do": "run", "running": False}, None, None, {"do": "step"}, None]
    said = visited(tmp_path, *messages, {"do": "restart", "seed": 3}, None).socket.said
    kinds = [one["kind"] for one in said]
    assert kinds.count("step") == 2
    assert [one["seed"] for one in said if one["kind"] == "start"] == [0, 3]


def short_episodes(monkeypatch, *steps):
    """Episodes of robot and twin have so many steps, each with its own reward."""
    began = []

    def watched(policy, env, seed, hook):
        whose = 0 if isinstance(hook, live.Hand) else 1
        began.append((whose, seed))
        for step in range(steps[whose] + 1):
            yield Moment({}, reward=float(step))

    monkeypatch.setattr(live, "watch", watched)
    return began


def test_the_episode_is_the_robots_and_a_twin_that_falls_begins_anew(
    tmp_path, monkeypatch
):
    began = short_episodes(monkeypatch, 5, 2)
    said = visited(tmp_path, *[None] * 4).socket.said
    rewards = [one["rewards"] for one in said if one["kind"] == "step"]
    assert rewards == [[1, 1], [2, 2], [3, 1], [4, 2], [5, 1]]
    assert began == [(0, 0), (1, 0), (1, 1), (1, 2)]


def test_a_restart_in_the_pause_between_episodes_is_the_visitors(tmp_path, monkeypatch):
    short_episodes(monkeypatch, 1, 1)
    restart = {"do": "restart", "seed": 7}
    said = visited(tmp_path, None, restart, None, None, None).socket.said
    assert [one["seed"] for one in said if one["kind"] == "start"] == [0, 7]
    said = visited(tmp_path / "other", None, None, None).socket.said
    assert [one["seed"] for one in said if one["kind"] == "start"] == [0, 1]


def test_only_the_page_itself_may_open_the_socket(tmp_path):
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import InvalidStatus

    (run,), task = load_runs([save_run(tmp_path, "Pendulum-v1", "ndp-oja")])
    server = live.LiveServer(run, task, None)
    server.allow("http://127.0.0.1:1234/")
    address = f"ws://127.0.0.1:{server.port}/"
    try:
        for host in ("127.0.0.1", "localhost"):  # as over SSH
            origin = f"http://{host}:1234"
            with client.connect(address, origin=origin, proxy=None) as socket:
                assert json.loads(socket.recv(timeout=20))["kind"] == "start"
        with pytest.raises(UsageError, match=f"port {server.port} cannot be had"):
            live.LiveServer(run, task, None, server.port)
        for origin in ("http://evil.example", None):
            with pytest.raises(InvalidStatus):
                client.connect(address, origin=origin, proxy=None)
    finally:
        server.close()


def test_python_waits_for_the_pages_before_it_ends(tmp_path, monkeypatch):
    client = pytest.importorskip("websockets.sync.client")
    threads = []
    monkeypatch.setattr(
        live.Visit, "go", lambda self: threads.append(threading.current_thread())
    )
    (run,), task = load_runs([save_run(tmp_path, "Pendulum-v1", "ndp-oja")])
    server = live.LiveServer(run, task, None)
    server.allow("http://127.0.0.1:1234/")
    address = f"ws://127.0.0.1:{server.port}/"
    with client.connect(address, origin="http://127.0.0.1:1234", proxy=None) as socket:
        for _ in socket:
            pass
    server.close()
    assert [thread.daemon for thread in threads] == [False]


@pytest.mark.skipif(not (ASSETS / "index.html").is_file(), reason="no page is built")
def test_the_built_page_is_within_its_limits():
    sizes = {path: file.stat().st_size for path, file in files_below(ASSETS).items()}
    assert sum(sizes.values()) < 12e6
    data = [size for path, size in sizes.items() if path.startswith("data/")]
    assert sum(sizes.values()) - sum(data) + max(data) < 10e6
