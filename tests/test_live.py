"""The page that follows runs while they go on, over the loopback interface."""

import threading
import time
from contextlib import contextmanager

import pytest
from saved_runs import write_run
from test_play import answer

from spikepropamine.common import UsageError
from spikepropamine.report import live
from spikepropamine.report.live import LivePage, live_page, pause_after


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "seed-0", "snn", 0, [(-10.0, 100)])
    return tmp_path


@contextmanager
def served(root):
    """A page whose files are looked at when `look` is called, and no sooner."""
    page = LivePage(root, 0)
    thread = threading.Thread(target=page.server.serve_forever)
    thread.start()
    try:
        yield page
    finally:
        page.server.shutdown()
        thread.join()
        page.close()


def got(page, path="/"):
    status, headers, body = answer(page.server, path)
    assert status == 200
    return headers, body.decode()


def add_row(run, steps, value):
    with (run / "progress.csv").open("a") as file:
        file.write(f"{value},{steps}\n")


def test_the_page_is_made_anew_when_a_run_goes_on(runs):
    with served(runs) as page:
        headers, html = got(page)
        version = got(page, "/version")[1]
        assert f'"{version}"' in html  # what the page compares with
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "100 of 400" in html and "200 of 400" not in html
        assert not page.look()  # nothing has changed
        assert got(page, "/version")[1] == version
        add_row(runs / "seed-0", 200, -5.0)
        assert page.look()
        assert got(page, "/version")[1] != version
        assert "200 of 400" in got(page)[1]


def test_runs_may_begin_later_and_end(tmp_path):
    with served(tmp_path) as page:
        assert "0 runs" in got(page)[1]
        write_run(tmp_path / "seed-3", "snn", 3, [(-10.0, 100)])
        assert page.look() and "1 run" in got(page)[1]
        (tmp_path / "seed-3" / "progress.csv").unlink()
        assert page.look()


def test_what_the_page_links_to_is_served_and_nothing_else(runs):
    evaluation = runs / "seed-0" / "evaluations" / "standard"
    evaluation.mkdir(parents=True)
    (evaluation / "report.html").write_text("a report")
    (runs / "seed-0" / "secret.txt").write_text("a secret")
    (runs / "film.mp4").symlink_to(runs / "seed-0" / "secret.txt")
    with served(runs) as page:
        place = "/seed-0/evaluations/standard/report.html"
        assert got(page, place)[1] == "a report"
        for path in ("/seed-0/secret.txt", "/film.mp4", "/../secret.txt", "/seed-0"):
            assert answer(page.server, path)[0] == 404
        assert answer(page.server, "/", host="elsewhere.example:80")[0] == 403


def test_a_damaged_file_is_named_once_and_the_page_goes_on(runs, capsys):
    folder = runs / "seed-0" / "evaluations" / "damaged"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text("{")
    (folder / "results.csv").write_text("{")
    with served(runs) as page:
        add_row(runs / "seed-0", 200, -5.0)
        assert page.look() and "200 of 400" in got(page)[1]
    said = capsys.readouterr().err
    assert said.count("left out") == 1 and "damaged" in said


def test_the_last_page_stays_where_no_new_one_can_be_made(runs, monkeypatch, capsys):
    with served(runs) as page:
        before = got(page)[1]

        def fails(*_):
            raise OSError("no space")

        monkeypatch.setattr(live, "local_page", fails)
        add_row(runs / "seed-0", 200, -5.0)
        assert page.look()
        assert got(page)[1] == before
    assert "the page stays as it is: no space" in capsys.readouterr().err


def test_a_thread_follows_the_files(runs, monkeypatch):
    monkeypatch.setattr(live, "LOOKED_AFTER", 0.02)
    with live_page(runs, 0) as page:
        version = page.version
        add_row(runs / "seed-0", 200, -5.0)
        end = time.monotonic() + 20
        while page.version == version and time.monotonic() < end:
            time.sleep(0.02)
        assert page.version != version
    assert not page.thread.is_alive()


def test_a_page_that_is_not_served_asks_for_nothing(runs):
    html = live.local_page(runs)
    assert "fetch(" not in html and "connect-src" not in html


def test_a_folder_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        LivePage(tmp_path / "missing", 0)


def test_pages_take_a_fifth_of_the_time_at_most():
    assert pause_after(8.0) == 32.0
    assert pause_after(0.1) == live.LOOKED_AFTER
