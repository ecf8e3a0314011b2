import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from evaluation_of_arrays import condition, evaluation
from example_evaluation import example, write_example
from saved_runs import write_run

from spikepropamine import statistics
from spikepropamine.colours import POLICIES
from spikepropamine.common import UsageError
from spikepropamine.folder import ASKED, RESULTS
from spikepropamine.reading import LARGEST_TEXT
from spikepropamine.report.dashboards import find_runs, learning_curve, write_local
from spikepropamine.report.evaluate import tables
from spikepropamine.report.html import report as html_of
from spikepropamine.report.paint import paint


class Outline(HTMLParser):
    """Section titles, link targets, and the number of plots of a page; checks that tags
    match.
    """

    VOID = {"meta", "link", "br", "i"}

    def __init__(self, html):
        super().__init__()
        self.sections = []
        self.links = []
        self.plots = 0
        self.open = []
        self.text = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(attrs["href"])
        self.plots += attrs.get("class") == "plot"

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.sections.append(data)
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def html():
    return html_of(example())


def test_a_report_has_all_its_parts(html):
    outline = Outline(html)
    assert outline.sections == [
        "Verdict", "What was tested", "At a glance", "Severity", "Recovery", "Lesions",
        "Comparisons", "Inside the network", "Cost", "All results", "Left out",
        "Settings and versions",
    ]  # fmt: skip
    # 1 overview, 3 severity curves, 1 recovery, 2 lesions, 4 series in 2 conditions
    assert outline.plots == 1 + 3 + 1 + 2 + 8


def charts_of(html):
    return [
        json.loads(part)
        for part in re.findall(r"application/json\">(.*?)</script>", html)
    ]


def test_a_policy_has_one_colour_in_all_plots(html):
    paints = {
        (value["label"], value["paint"])
        for chart in charts_of(html)
        for values in chart["datasets"].values()
        for value in values
        if value.get("label") in POLICIES
    }
    policies = ("ndp-oja", "snn", "mlp")
    assert paints == {(policy, paint(policy, "t")) for policy in policies}
    for name in (*policies, "another"):
        assert all(f"{paint(name, kind)[4:-1]}:" in html for kind in "ct")


@pytest.mark.parametrize("cue", [False, True])
def test_a_report_without_parts_leaves_out_their_sections(cue):
    html = html_of(example(cue, only_clean=True, skipped=[]))
    trials = ["Accuracy by trial"] if cue else []
    assert Outline(html).sections == [
        "Verdict", "What was tested", "At a glance", *trials, "Inside the network",
        "Cost",
        "All results", "Settings and versions",
    ]  # fmt: skip
    assert ('"label":"chance"' in html) == cue


def test_a_report_has_the_settings_of_training_in_which_policies_differ():
    learning = {
        policy: {"trainer.kind": "sac", "rate": 0.1} for policy in ("ndp-oja", "snn")
    }
    title = "Settings of training that differ"
    assert title not in html_of(example(learning=learning))
    learning |= {
        "mlp": {"trainer.kind": "sac", "rate": 0.3, "steps": 64}
    }  # one of its own, too
    table = (
        html_of(example(learning=learning)).partition(title)[2].partition("</table>")[0]
    )
    assert re.findall("<td.*>(.*)</td>", table) == ["rate", "0.1", "0.1", "0.3"]


def test_a_report_of_contexts_shows_random_actions_and_the_teacher():
    html = html_of(example(contexts=True))
    assert (
        "Adaptation" in Outline(html).sections
        and "Recovery" not in Outline(html).sections
    )
    labels = {value.get("label") for chart in charts_of(html)
              for values in chart["datasets"].values() for value in values}  # fmt: skip
    assert {"random actions", "teacher, told", "ndp-oja, off"} <= labels


def test_retention_that_does_not_exist_is_left_out():
    returns = {
        ("bad", key, "return"): [[0.0, 1, 0, 1, 0]] for key in ("clean", "light")
    }
    more = {
        ("bad", "clean", "length"): np.ones((1, 5)),
        ("bad", None, "random_return"): [[1.0] * 5],
    }
    found = evaluation([condition(), condition("light", severity=0.5)], returns | more)
    sections = Outline(html_of(found)).sections
    assert "All results" in sections and "Severity" not in sections
    assert "retention" not in tables(found).splitlines()[0]


def test_text_from_outside_cannot_become_html():
    found = example()
    evil = '<script>alert("x")</script>'
    found.conditions = {k: replace(c, label=evil) if c.onset else c
                        for k, c in found.conditions.items()}  # fmt: skip
    found.description = replace(
        found.description,
        versions={"revision": "</title><b>"},
        command=("</script><script>alert(1)</script>",),
    )
    html = html_of(found)
    assert "<script>alert" not in html and "<b>" not in html
    assert "&lt;script&gt;alert" in html
    Outline(html)


def test_a_report_asks_for_nothing_from_the_network(html):
    assert "default-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    group = root / "Pendulum-v1" / "snn"
    write_run(group / "seed-0", "snn", 0, [(-100.0, 100), (-50.0, 200), (0.0, 300)])
    write_run(group / "seed-1", "snn", 1, [(-80.0, 100), ("", 150), (-30.0, 200)])
    write_run(root / "Pendulum-v1" / "mlp" / "seed-0", "mlp", 0, [])
    return root


def test_a_learning_curve_is_the_mean_over_the_runs_that_got_there(runs):
    found = [run for run in find_runs(runs) if run.policy == "snn"]
    steps, scores = zip(*learning_curve(found, "rollout/ep_rew_mean"))
    assert steps == (100, 200, 300) and [score.mean for score in scores] == [
        -90,
        -40,
        0,
    ]
    assert scores[0].interval == pytest.approx(statistics.interval([-100.0, -80]))
    assert scores[2].interval is None
    assert learning_curve(found, "rollout/late_accuracy") == []


def test_the_local_page_links_what_there_is(runs, capsys):
    seed = runs / "Pendulum-v1" / "snn" / "seed-0"
    folder = write_example(seed / "evaluations" / "novel dynamics")
    (folder / "report.html").touch()
    for name, content in (
        ("broken", b"{"),
        ("older", b'{"runs": []}'),
        ("foreign", b"\xff\xfe"),
    ):
        (seed / "evaluations" / name).mkdir()
        (seed / "evaluations" / name / ASKED).write_bytes(content)
        (seed / "evaluations" / name / RESULTS).write_bytes(content)
    # a table that does not agree with its description takes nothing else with it
    wrong = write_example(seed / "evaluations" / "inconsistent") / RESULTS
    wrong.write_text(wrong.read_text().replace(",0,", ",-7,", 40))
    with (seed / "progress.csv").open("ab") as file:
        file.write(b"\xff\xfe,\xff\n")
    (seed / "videos").mkdir()
    (seed / "videos" / "step-100.mp4").touch()
    (seed / "wandb" / "media").mkdir(parents=True)
    (seed / "wandb" / "media" / "copy.mp4").touch()
    outline = Outline(write_local(runs).read_text())
    assert outline.sections == ["Learning", "Evaluations", "Videos", "Runs"]
    assert f"left out: {wrong}" in capsys.readouterr().err
    assert outline.plots == 1
    base = "Pendulum-v1/snn/seed-0"
    reports = {link for link in outline.links if link.endswith("report.html")}
    assert reports == {f"{base}/evaluations/novel%20dynamics/report.html"}
    assert [link for link in outline.links if link.endswith(".mp4")] == [
        f"{base}/videos/step-100.mp4"
    ]
    assert "300 of 400" in outline.text


def test_runs_of_one_policy_in_two_folders_are_two_lines(runs):
    write_run(runs / "wide" / "seed-0", "snn", 0, [(-10.0, 100), (-5.0, 200)])
    html = write_local(runs).read_text()
    assert '"label":"snn, wide/seed-0"' in html and '"label":"snn (2)"' in html


def test_so_are_runs_in_one_folder_that_were_trained_in_other_ways(runs):
    config = runs / "Pendulum-v1" / "snn" / "seed-1" / "config.yaml"
    settings = yaml.safe_load(config.read_text())["settings"]
    settings["trainer"] = {"learning_rate": 1e-5}
    config.write_text(yaml.safe_dump({"settings": settings}))
    html = write_local(runs).read_text()
    assert "snn (2)" not in html
    assert all(f'"label":"snn, learning_rate {x}"' in html for x in ("-", "1e-05"))


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_runs_is_an_error(tmp_path, name):
    for number, text in enumerate(["", "settings: {env: x}", "[", "a: b"]):
        other = tmp_path / f"other-{number}"
        other.mkdir()
        (other / "config.yaml").write_text(text)  # of other tools
    with pytest.raises(UsageError, match="there is no"):
        write_local(tmp_path / name)


def test_a_log_that_is_too_large_is_named(runs):
    other = next((runs / "Pendulum-v1" / "snn").iterdir())
    too_large = other / "progress.csv"
    with too_large.open("ab") as file:
        file.truncate(LARGEST_TEXT + 1)  # without room on the disk
    wanted = rf"there is no run in .*: left out: {too_large} has 268,435,457 bytes"
    with pytest.raises(UsageError, match=wanted):
        write_local(other)
