"""The workspace and the report in wandb: their panels, and that there is one of each."""

import json
import re

import pytest
import wandb

from spikepropamine import tracking as shared
from spikepropamine.common import UsageError
from spikepropamine.report import tracking as tracked_evaluation
from spikepropamine.report import workspace
from spikepropamine.report.dashboards import main as dashboards

pytestmark = pytest.mark.usefixtures("no_account")


def test_the_workspace_has_its_sections_and_panels():
    spec = json.loads(workspace.as_json(workspace.workspace("someone", "some-project")))
    sections = spec["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [
        "learning", "spikes", "plasticity", "adaptation", "system",
    ]  # fmt: skip
    for section in sections:
        plots = [part["config"] for part in section["panels"] if "Line Plot" in part["viewType"]]
        shown = [(part["chartTitle"], part["xAxis"], part["metricRegex"]) for part in plots]
        assert shown == [(a, b, f"^{c}$") for a, b, c in workspace.SECTIONS[section["name"]]]
    kinds = {part["viewType"] for part in sections[3]["panels"]}
    assert {"Media Browser", "Weave"} <= kinds


def test_its_axes_are_those_that_are_logged():
    axes = {metrics: axis for plots in workspace.SECTIONS.values() for _, axis, metrics in plots}
    assert workspace.PROJECT == shared.PROJECT
    for names, axis in tracked_evaluation.AXES.items():
        (shown,) = [axes[m] for m in axes if re.fullmatch(m, names.replace("*", "a/b"))]
        assert shown == axis


def test_without_an_account_the_workspace_is_printed(capsys):
    assert dashboards([]) == 0
    printed = capsys.readouterr()
    assert "section" in json.loads(printed.out)
    (line,) = printed.err.splitlines()
    assert "no account" in line and "wandb login" in line


@pytest.fixture
def server(monkeypatch):
    """An account, and the views of a project that a server would hold: by name, and the report."""
    from wandb_workspaces.reports.v2 import interface
    from wandb_workspaces.workspaces import internal

    views, reports = {}, {}

    class Api:
        default_entity = "someone"
        client = type("Client", (), {"app_url": "https://wandb.test/"})

        def reports(self, path):
            assert path == f"someone/{shared.PROJECT}"
            kind = type("Report", (), {})
            for identity, title in reports.items():
                one = kind()
                one.id, one.display_name = identity, title
                yield one

    def get_view_dict(entity, project, name):
        for view in views.values():
            if view.name == internal._url_query_str_to_internal_name(name):
                return {"id": view.id}
        raise ValueError(f"Workspace `{name}` not found in project `{project}`")

    def upsert(view):
        view.id = view.id or f"id-{len(views)}"
        views[view.id] = view
        return {"upsertView": {"view": {"id": view.id, "name": view.name}}}

    def save(report):
        report.id = report.id or f"id-{len(reports)}"
        reports[report.id] = report.title

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(internal, "get_view_dict", get_view_dict)
    monkeypatch.setattr(internal, "upsert_view2", upsert)
    monkeypatch.setattr(interface.Report, "save", save)
    monkeypatch.setattr(interface.Report, "url", property(lambda report: report.id))
    return views, reports


def test_one_workspace_and_one_report_are_changed_when_they_are_saved_again(server, capsys):
    for _ in range(2):
        assert dashboards([]) == 0
        assert dashboards(["--report"]) == 0
    views, reports = server
    assert list(views) == ["id-0"] and reports == {"id-0": workspace.NAME}
    (address,) = {line for line in capsys.readouterr().out.splitlines() if "?" in line}
    assert address.endswith(f"/{shared.PROJECT}?nw={workspace.VIEW}")


def test_a_project_that_is_not_there_is_one_line(server, monkeypatch, capsys):
    from wandb_workspaces.workspaces import internal

    def get_view_dict(entity, project, name):
        raise ValueError(f"Project `{entity}/{project}` not found.  Do you have access?")

    monkeypatch.setattr(internal, "get_view_dict", get_view_dict)
    assert dashboards([]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) and "not found" in printed.err
    assert not server[0]


def test_the_report_explains_each_section_and_shows_its_plots():
    blocks = json.loads(workspace.as_json(workspace.report("someone", "some-project")))["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert len(grids) == len(workspace.SECTIONS) == len(workspace.EXPLAINED)
    for section, grid in zip(workspace.SECTIONS, grids):
        panels = grid["panelBankSectionConfig"]["panels"]
        titles = [part["config"].get("chartTitle") for part in panels]
        assert {title for title, _, _ in workspace.SECTIONS[section]} <= set(titles)
    kinds = {part["filters"]["filters"][0]["value"] for grid in grids for part in grid["runSets"]}
    assert kinds == {"train", "evaluation"}  # the job types that trainings and evaluations have


def test_without_an_account_the_report_is_printed(capsys):
    assert dashboards(["--report"]) == 0
    assert json.loads(capsys.readouterr().out)["blocks"]
    with pytest.raises(UsageError, match="give one of them"):
        dashboards(["--report", "--local", "runs"])
