"""Progress bars."""

import io
import sys

from spikepropamine import PlasticPPO
from spikepropamine.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(2, "cells") as bar:
        bar.update()
        bar.write("first: done", file=sys.stderr)
        bar.update()
    return stream.getvalue()


def test_a_terminal_sees_one_line_that_changes(monkeypatch):
    text = shown(monkeypatch, Terminal())
    assert "\r" in text
    assert text.endswith("\n")


def test_a_file_gets_whole_lines(monkeypatch):
    text = shown(monkeypatch, io.StringIO())
    assert "\r" not in text
    first, said, last = text.splitlines()
    assert first.startswith("0%")
    assert said == "first: done"
    assert "2/2" in last


def test_the_bar_of_stable_baselines_works():
    model = PlasticPPO("PlasticSpikingPolicy", "CueAssociation-v0", n_steps=8, batch_size=8)
    assert model.learn(8, progress_bar=True).num_timesteps == 8
