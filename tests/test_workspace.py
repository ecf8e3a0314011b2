"""The workspace in wandb: its panels, and that there is one."""

import json
import re

import pytest
import wandb

from spikepropamine import tracking as shared
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
    """An account, and the views of a project that a server would hold."""
    from wandb_workspaces.workspaces import internal

    views = {}

    class Api:
        default_entity = "someone"
        client = type("Client", (), {"app_url": "https://wandb.test/"})

    def get_view_dict(entity, project, name):
        for view in views.values():
            if view.name == internal._url_query_str_to_internal_name(name):
                return {"id": view.id}
        raise ValueError(f"Workspace `{name}` not found in project `{project}`")

    def upsert(view):
        view.id = view.id or f"id-{len(views)}"
        views[view.id] = view
        return {"upsertView": {"view": {"id": view.id, "name": view.name}}}

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(internal, "get_view_dict", get_view_dict)
    monkeypatch.setattr(internal, "upsert_view2", upsert)
    return views


def test_one_workspace_is_changed_when_it_is_saved_again(server, capsys):
    for _ in range(2):
        assert dashboards([]) == 0
    assert list(server) == ["id-0"]
    (address,) = set(capsys.readouterr().out.splitlines())
    assert address.endswith(f"/{shared.PROJECT}?nw={workspace.VIEW}")


def test_a_project_that_is_not_there_is_one_line(server, monkeypatch, capsys):
    from wandb_workspaces.workspaces import internal

    def get_view_dict(entity, project, name):
        raise ValueError(f"Project `{entity}/{project}` not found.  Do you have access?")

    monkeypatch.setattr(internal, "get_view_dict", get_view_dict)
    assert dashboards([]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) and "not found" in printed.err
    assert not server
