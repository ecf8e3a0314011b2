"""The trained policies of the repository: whole, loadable, and of no particular
machine.
"""

import re

import numpy as np
import pytest

from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.folder import (
    RETURN,
    RunFolder,
    find,
    name_of,
    read_curve,
    trained_runs,
)
from spikepropamine.listing import trained
from spikepropamine.report import card as card_module

pytestmark = pytest.mark.nightly
FOLDERS = trained_runs()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: "-".join(f.parts[-4:]))
def test_a_trained_policy_is_what_its_folder_says_and_acts(folder):
    (run,), task = load_runs([folder])
    environment, policy, seed = folder.parts[-3:]
    assert (run.environment, run.name, f"seed-{run.seed}") == (
        environment,
        policy,
        seed,
    )
    least = 200_000 if environment == "CueAssociation-v0" else 1_000_000
    assert run.steps >= least and len(read_curve(RunFolder(folder).progress, RETURN)[0])
    env = make_env(task, CLEAN, run.previous, run.revealed)
    observation, _ = env.reset(seed=0)
    state = None
    start = np.ones(1, bool)
    for _ in range(20):
        action, state = run.policy.predict(
            observation[None], state, start, deterministic=True
        )
        observation, *_ = env.step(action[0])
        start[:] = False
    assert np.isfinite(observation).all() and env.action_space.contains(action[0])


def test_every_trained_policy_has_a_card_of_its_results_and_is_listed_with_them(capsys):
    assert card_module.main(["--check"]) == 0, capsys.readouterr().err
    listed = dict(trained())
    assert len(listed) == len(FOLDERS)
    for folder in FOLDERS:
        card = RunFolder(folder).card.read_text()
        assert len(card.splitlines()) <= 60
        assert (
            find(name_of(folder)) == folder
            and listed[name_of(folder)].partition(" ")[2]
        )


def test_there_are_some_and_they_name_no_folder_of_a_machine():
    assert FOLDERS
    for folder in FOLDERS:
        for name in ("config.yaml", "policy/policy.json", "README.md"):
            text = (folder / name).read_text()
            absolute = re.search(r"""(^|[\s"'=])(/|[A-Z]:\\)\w""", text, re.MULTILINE)
            assert absolute is None, f"{folder / name}: {absolute}"
