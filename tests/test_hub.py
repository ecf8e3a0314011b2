"""push and pull against a stand-in of the Hub's client; what is pulled is a stranger's."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import yaml
from huggingface_hub import HfApi
from saved_runs import CUES, command_line, save_run

from spikepropamine.__main__ import main
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.folder import ASKED
from spikepropamine.report.evaluation import Evaluation

NAME = "someone/plastic"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder that has been evaluated."""
    run = save_run(tmp_path_factory.mktemp("runs"), CUES, "ndp-oja")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "model.zip").write_bytes(b"pickles")
    arguments = [run, "--episodes", "4", "--conditions", "clean", "--workers", "1"]
    assert command_line(*arguments, "--lesions", "off") == 0
    return run


REPOSITORIES: dict[str, dict[str, bytes]] = {}  # by name and path


def create(repository, **_):
    REPOSITORIES.setdefault(repository, {})


def upload(repo_id, folder_path, **_):
    files = [file for file in Path(folder_path).rglob("*") if file.is_file()]
    found = {file.relative_to(folder_path).as_posix(): file.read_bytes() for file in files}
    REPOSITORIES[repo_id].update(found)


def tree(repository, **_):
    if repository not in REPOSITORIES:
        raise FileNotFoundError("no such repository\nat all")
    files = REPOSITORIES[repository].items()
    return [SimpleNamespace(path=name, size=len(content)) for name, content in files]


def download(repository, name, local_dir, **_):
    file = Path(local_dir, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(REPOSITORIES[repository][name])


@pytest.fixture
def service(monkeypatch):
    """The address of a client that keeps repositories here, and takes what the real one does."""
    client = create_autospec(HfApi, instance=True, endpoint="https://hub")
    client.create_repo.side_effect, client.upload_folder.side_effect = create, upload
    client.list_repo_tree.side_effect, client.hf_hub_download.side_effect = tree, download
    monkeypatch.setattr("huggingface_hub.HfApi", lambda **_: client)
    REPOSITORIES.clear()
    return client.endpoint


@pytest.fixture
def pushed(run, service, capsys):
    """The files of the repository; they can be tampered with."""
    assert main(["push", str(run), NAME]) == 0
    assert capsys.readouterr().out == f"{service}/{NAME}\n"
    return REPOSITORIES[NAME]


def refused(tmp_path, capsys) -> str:
    assert main(["pull", NAME, "--out", str(tmp_path / "it")]) == 2
    assert not (tmp_path / "it").exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def sign(files) -> None:
    """What a stranger can do, too."""
    manifest = json.loads(files["spikepropamine.json"])
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256(files[name]).hexdigest()
    files["spikepropamine.json"] = json.dumps(manifest).encode()


def test_a_pulled_policy_is_the_one_that_was_pushed_and_can_be_evaluated(pushed, run, tmp_path):
    out = tmp_path / "it"
    assert main(["pull", NAME, "--out", str(out)]) == 0
    for name in ("policy.json", "weights.safetensors"):
        assert (out / "policy" / name).read_bytes() == (run / "policy" / name).read_bytes()
    (found,), _ = load_runs([out], range(1_000_000, 1_000_001))
    assert (found.name, found.environment, found.steps) == ("ndp-oja", CUES, 123)
    assert command_line(out, "--episodes", "2", "--conditions", "clean", "--workers", "1") == 0


def test_pushed_is_what_others_need_and_no_pickle(pushed):
    assert {"policy/policy.json", "policy/weights.safetensors", "README.md"} <= set(pushed)
    assert {"evaluation/results.csv", "evaluation/report.html"} <= set(pushed)
    assert not [name for name in pushed if "checkpoints" in name or name.endswith(".zip")]


def test_what_a_link_leads_to_is_not_pushed(tmp_path, service, capsys):
    run, secret = save_run(tmp_path, CUES, "snn"), tmp_path / "secret"
    secret.write_text("of nobody's business")
    assert command_line(run, "--episodes", "2", "--conditions", "clean") == 0
    link = run / "evaluations" / "standard" / "figures" / "notes.txt"
    for path in (link, run / "progress.csv"):
        path.symlink_to(secret)
        assert main(["push", str(run), NAME]) == 2
        assert f"{path} is a link" in capsys.readouterr().err
        path.unlink()
    (run / "evaluations").rename(tmp_path / "elsewhere")
    (run / "evaluations").symlink_to(tmp_path / "elsewhere")
    assert main(["push", str(run), NAME]) == 2
    assert f"{run / 'evaluations'} is a link" in capsys.readouterr().err


def test_the_card_is_made_from_the_evaluation(pushed, run):
    _, front, body = pushed["README.md"].decode().split("---\n", 2)
    clean = Evaluation.read(run / "evaluations" / "standard").returns("ndp-oja").mean
    about = yaml.safe_load(front)
    metrics = {x["type"]: x["value"] for x in about["model-index"][0]["results"][0]["metrics"]}
    assert metrics["mean_reward"] == round(clean, 3) and next(iter(metrics)) == "late_accuracy"
    assert about["pipeline_tag"] == "reinforcement-learning" and CUES in about["tags"]
    for part in ("## Training", "## Results", "plasticity off"):
        assert part in body, part
    assert f"spikepropamine pull {NAME}" in body


def test_nothing_but_policy_and_card_is_taken(pushed, tmp_path):
    pushed["policy/extra.py"] = b"raise SystemExit('run')"
    pushed["checkpoints/model.zip"] = b"pickles"
    pushed["../outside.txt"] = b"outside"
    assert main(["pull", NAME, "--out", str(tmp_path / "it")]) == 0
    there = {p.relative_to(tmp_path / "it").as_posix() for p in (tmp_path / "it").rglob("*")}
    policy = {"policy", "policy/policy.json", "policy/weights.safetensors"}
    assert there == policy | {"README.md", "spikepropamine.json"}


@pytest.mark.parametrize("name", ["README.md", "policy/policy.json", "policy/weights.safetensors"])
def test_an_edited_file_is_refused(pushed, name, tmp_path, capsys):
    pushed[name] = pushed[name][:-1] + b" "
    assert f"{name} is not the file that was pushed" in refused(tmp_path, capsys)


def test_a_policy_that_is_not_whole_is_refused(pushed, tmp_path, capsys):
    del pushed["policy/weights.safetensors"]
    assert "do not agree on policy/weights.safetensors" in refused(tmp_path, capsys)


def test_damaged_tensors_are_refused_though_they_are_signed(pushed, tmp_path, capsys):
    pushed["policy/weights.safetensors"] = b"\x80\x04 a pickle"
    sign(pushed)
    assert "the policy is damaged" in refused(tmp_path, capsys)


def test_a_name_that_could_lead_elsewhere_is_refused(pushed, tmp_path, capsys):
    description = json.loads(pushed["policy/policy.json"])
    description["metadata"]["settings"]["policy"] = "../../up"
    description["format"] = 1  # whose descriptions are not digested
    pushed["policy/policy.json"] = json.dumps(description).encode()
    sign(pushed)
    assert "policy is called '../../up'" in refused(tmp_path, capsys)


def test_a_repository_of_something_else_is_refused(service, tmp_path, capsys):
    REPOSITORIES[NAME] = {"pytorch_model.bin": b"pickles"}
    assert "it was not pushed by" in refused(tmp_path, capsys)


def test_what_cannot_be_reached_is_one_line(service, tmp_path, capsys):
    assert f"{service}: no such repository" in refused(tmp_path, capsys)


def test_what_is_there_already_is_not_overwritten(pushed, tmp_path, capsys):
    (tmp_path / "it").mkdir()
    assert main(["pull", NAME, "--out", str(tmp_path / "it")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_run_without_an_evaluation_of_its_own_is_not_pushed(run, service, tmp_path, capsys):
    other = save_run(tmp_path, CUES, "ndp-oja", seed=1)
    assert main(["push", str(other), NAME]) == 2
    assert "spikepropamine evaluate" in capsys.readouterr().err
    evaluation = run / "evaluations" / "standard"
    assert main(["push", str(other), NAME, "--evaluation", str(evaluation)]) == 2
    assert "is not an evaluation of" in capsys.readouterr().err
    file = evaluation / ASKED
    before = file.read_text()
    asked = json.loads(before)
    for part in asked["runs"]:  # as where the run has gone on since
        part["steps"] -= 1
    file.write_text(json.dumps(asked))
    assert main(["push", str(run), NAME]) == 2
    assert "evaluate it again" in capsys.readouterr().err
    file.write_text(before)
    assert main(["push", str(run), "plastic"]) == 2
    assert "OWNER/NAME" in capsys.readouterr().err
    assert not REPOSITORIES
