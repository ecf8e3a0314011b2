"""Folders of policies that say more than they hold: refused before memory is taken for
it.
"""

import json
import shutil
import tracemalloc

import numpy as np
import pytest

from spikepropamine.folder import policy_folder
from spikepropamine.policies import export
from spikepropamine.policies.spaces import check_width, space_to_json

PLASTIC = "spikes/CueAssociation-v0/ndp-oja/seed-0"
LSTM = "cue-ppo/CueAssociation-v0/lstm/seed-21"
BILLION = 10**9
HUGE = {
    "Discrete": {"n": BILLION, "start": 0},
    "MultiBinary": {"n": [30_000, 30_000]},
    "MultiDiscrete": {"nvec": [BILLION, 2]},
    "Box": {"shape": [BILLION], "dtype": "float32", "low": -1.0, "high": 1.0},
    "Dict": {"spaces": {"a": {"type": "Discrete", "n": BILLION, "start": 0}}},
}


@pytest.fixture
def changed(tmp_path):
    """A copy of a policy on file, the description of which was changed."""

    def change(name, **values):
        folder = shutil.copytree(policy_folder(name), tmp_path / "policy")
        description = json.loads((folder / "policy.json").read_text())
        for place, value in values.items():
            *outer, last = place.split("__")
            part = description
            for key in outer:
                part = part[key]
            part[last] = value
        description["digest"] = export._digest(description)
        (folder / "policy.json").write_text(json.dumps(description))
        return folder

    return change


def refusal(folder):
    """Why a policy is not loaded, for which no more than 100 MB are taken."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            export.load_policy(folder)
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize("which", ["observation_space", "action_space"])
@pytest.mark.parametrize("kind", HUGE)
def test_a_space_that_no_weights_are_there_for_is_refused(kind, which, changed):
    folder = changed(PLASTIC, **{which: {"type": kind, **HUGE[kind]}})
    assert f"it describes a {kind} of " in refusal(folder)


def test_layers_that_are_a_number_are_refused_before_they_are_made(changed):
    folder = changed(LSTM, arguments__n_lstm_layers=10**7)
    assert "more layers than there may be" in refusal(folder)


@pytest.mark.parametrize("digest", ["", "0", None, 1, "g" * 64])
def test_a_digest_that_is_none_switches_nothing_off(digest, changed):
    folder = changed(PLASTIC)
    description = json.loads((folder / "policy.json").read_text())
    description["sha256"]["weights.safetensors"] = digest
    description["digest"] = export._digest(description)
    (folder / "policy.json").write_text(json.dumps(description))
    assert "and no digest" in refusal(folder)


def test_the_width_of_a_space_is_what_a_network_sees_of_it():
    space = export.load_policy(policy_folder(PLASTIC)).observation_space
    (width,) = space.shape
    check_width(space_to_json(space), most=width)
    with pytest.raises(ValueError, match=f"a Box of {width} numbers"):
        check_width(space_to_json(space), most=width - 1)
    several = {"type": "MultiDiscrete", "nvec": np.full((2, 3), 4).tolist()}
    check_width(several, most=24)
    with pytest.raises(ValueError, match="24"):
        check_width(several, most=23)
