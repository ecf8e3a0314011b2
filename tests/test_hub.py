"""Policies that are pushed to the Hub and loaded from there, with a stand-in of it."""

import json

import numpy as np
import pytest
import yaml
from hub_stand_in import Hub

import spikepropamine as sp
from spikepropamine import folder
from spikepropamine import hub as client
from spikepropamine.__main__ import main
from spikepropamine.common import UsageError
from spikepropamine.folder import TRAINED

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

RUN = "robots/Swimmer-v5/ndp-oja"
WEIGHTS = "policy/weights.safetensors"
NORMALISATION = "policy/normalisation.safetensors"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(client, "downloads", lambda: tmp_path / "hub")
        monkeypatch.setattr(folder, "downloads", lambda: tmp_path / "hub")
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield hub


@pytest.fixture
def pushed(hub):
    """The stand-in with a policy at owner/swimmer."""
    assert main(["push", RUN, "owner/swimmer"]) == 0
    hub.downloads.clear()
    return hub


def acts(policy):
    """Actions for drawn observations."""
    rng = np.random.default_rng(1)
    policy.reset()
    return np.array([policy.act(rng.normal(size=8)) for _ in range(20)])


def test_what_is_pushed_is_loaded_and_acts_the_same(pushed, capsys):
    loaded = sp.load("hf:owner/swimmer")
    np.testing.assert_array_equal(acts(loaded), acts(sp.load(RUN)))
    assert loaded.make_env().spec.id == "Swimmer-v5"


def test_push_says_how_to_load_exactly_this(hub, capsys):
    assert main(["push", RUN, "owner/swimmer"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    name = line.split("'")[1]
    assert name.startswith("hf:owner/swimmer@")
    hub.add("owner/swimmer", {"policy/policy.json": b"{}"})
    assert len(acts(sp.load(name))) == 20


def test_only_the_files_of_the_format_are_pushed_and_loaded(pushed):
    files = pushed.files("owner/swimmer")
    assert files.keys() <= client.REQUIRED.keys() | client.OPTIONAL.keys()
    pushed.add("owner/swimmer", {"model.pkl": b"cos\nsystem\n", "run.py": b"exit()"})
    sp.load("hf:owner/swimmer")
    assert set(pushed.downloads) <= client.REQUIRED.keys() | client.OPTIONAL.keys()


def test_a_commit_is_downloaded_once(pushed):
    sp.load("hf:owner/swimmer")
    count = len(pushed.downloads)
    assert count >= 2
    sp.load("hf:owner/swimmer")
    assert len(pushed.downloads) == count


def test_the_card_is_what_the_hub_reads(pushed):
    card = pushed.files("owner/swimmer")["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "spikepropamine"
    assert about["pipeline_tag"] == "reinforcement-learning"
    (result,) = about["model-index"][0]["results"]
    assert {"type": "mean_reward"}.items() <= result["metrics"][0].items()
    assert "spikepropamine enjoy hf:owner/swimmer" in body
    from huggingface_hub import ModelCard

    assert ModelCard(card).data.eval_results[0].dataset_name == "Swimmer-v5"


def test_commands_take_the_names_of_the_hub(pushed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "hf:owner/swimmer", "--format", "onnx"]) == 0
    (file,) = tmp_path.glob("runs/owner--swimmer/*/exports/policy.onnx")
    assert file.stat().st_size > 1000
    assert not list((tmp_path / "hub").rglob("*.onnx"))


@pytest.mark.parametrize("file", [WEIGHTS, NORMALISATION])
def test_changed_tensors_are_refused(pushed, file):
    content = bytearray(pushed.files("owner/swimmer")[file])
    content[-3] ^= 1
    pushed.add("owner/swimmer", {file: bytes(content)})
    with pytest.raises(ValueError, match="not what was written"):
        sp.load("hf:owner/swimmer")


def test_a_changed_description_is_refused(pushed):
    description = json.loads(pushed.files("owner/swimmer")["policy/policy.json"])
    description["metadata"]["steps"] = 1
    changed = {"policy/policy.json": json.dumps(description).encode()}
    pushed.add("owner/swimmer", changed)
    with pytest.raises(ValueError, match="not what was written"):
        sp.load("hf:owner/swimmer")


@pytest.mark.parametrize("size", [2**30 + 1, None])
def test_a_file_that_is_too_large_is_not_downloaded(pushed, size):
    pushed.said_sizes[WEIGHTS] = size
    with pytest.raises(UsageError, match=r"weights.safetensors has .* may have 1,073"):
        sp.load("hf:owner/swimmer")
    assert not pushed.downloads


def test_a_file_that_is_larger_than_it_was_said_to_be_is_not_kept(
    pushed, monkeypatch, tmp_path
):
    monkeypatch.setitem(client.REQUIRED, WEIGHTS, 100)
    pushed.said_sizes[WEIGHTS] = 99
    with pytest.raises(UsageError, match="may have 100"):
        sp.load("hf:owner/swimmer")
    monkeypatch.undo()
    assert not list((tmp_path / "hub").glob("*/*/policy.json"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:nobody/nothing", "no such repository"),
        ("hf:owner/swimmer@0000000", "no such revision"),
        ("hf:owner/other", "no policy of spikepropamine: policy/policy.json"),
        ("hf:swimmer", "no name on the Hub"),
        ("hf:owner/swimmer@", "no name on the Hub"),
        ("hf:../../etc/passwd", "no name on the Hub"),
        ("hf:../swimmer", "client says"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(pushed, name, message):
    pushed.add("owner/other", {"README.md": b"another model"})
    with pytest.raises(UsageError, match=message) as caught:
        sp.load(name)
    assert "\n" not in str(caught.value)
    assert not pushed.downloads


def test_a_hub_that_cannot_be_reached_is_one_sentence(hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(UsageError, match="the Hub's client says"):
        sp.load("hf:owner/swimmer")
    assert main(["push", RUN, "owner/swimmer"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_policy_is_not_pushed(hub, tmp_path, capsys):
    (run,) = TRAINED.glob(f"{RUN}/seed-*")
    for file in ("policy/policy.json", WEIGHTS, NORMALISATION):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((run / file).read_bytes())
    (tmp_path / WEIGHTS).write_bytes(b"no tensors")
    assert main(["push", str(tmp_path), "owner/swimmer"]) == 2
    assert "damaged" in capsys.readouterr().err
    assert not hub.repositories


def test_folders_of_checkpoints_and_links_stay_at_home(hub, tmp_path, capsys):
    (run,) = TRAINED.glob(f"{RUN}/seed-*")
    (tmp_path / "policy").symlink_to(run / "policy")
    assert main(["push", str(tmp_path), "owner/swimmer"]) == 2
    assert "is a link" in capsys.readouterr().err
