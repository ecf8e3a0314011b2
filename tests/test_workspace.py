"""The workspace in wandb: its panels, and that there is one."""

import pytest
import wandb

from spikepropamine import tracking as shared
from spikepropamine.common import UsageError
from spikepropamine.report import workspace
from spikepropamine.report.dashboards import main as dashboards

pytestmark = pytest.mark.usefixtures("no_account")


def test_the_workspace_has_its_sections_and_panels():
    made = workspace.workspace("someone", "some-project")
    spec = made._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    sections = spec["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [
        "learning", "spikes", "plasticity", "adaptation", "system",
    ]  # fmt: skip
    for section in sections:
        plots = [part["config"] for part in section["panels"] if "Line Plot" in part["viewType"]]
        shown = [(part["chartTitle"], part["metricRegex"]) for part in plots]
        assert shown == [
            (title, f"^{metrics}$") for title, metrics in workspace.SECTIONS[section["name"]]
        ]
    kinds = {part["viewType"] for part in sections[3]["panels"]}
    assert {"Media Browser", "Weave"} <= kinds


def test_without_an_account_there_is_no_workspace():
    with pytest.raises(UsageError, match="there is no account"):
        dashboards([])


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


def test_a_project_that_is_not_there_is_one_line(server, monkeypatch):
    from wandb_workspaces.workspaces import internal

    def get_view_dict(entity, project, name):
        raise ValueError(f"Project `{entity}/{project}` not found.  Do you have access?")

    monkeypatch.setattr(internal, "get_view_dict", get_view_dict)
    with pytest.raises(UsageError, match="not found"):
        dashboards([])
    assert not server
