"""The tests of SB3 and of sb3-contrib themselves, with this project's algorithms in the
place of theirs (`sb3_in_place`).

They are no part of this repository: the source distribution of the installed version is
downloaded.
"""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.nightly

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "guides" / "stable-baselines3.md"
FILES = {
    "stable-baselines3": (
        "callbacks",
        "custom_policy",
        "deterministic",
        "dict_env",
        "distributions",
        "her",
        "n_step_replay",
        "predict",
        "run",
        "save_load",
        "sde",
        "spaces",
        "train_eval_mode",
        "vec_extract_dict_obs",
        "vec_monitor",
        "vec_normalize",
    ),
    "sb3-contrib": (
        "cnn",
        "deterministic",
        "dict_env",
        "lstm",
        "run",
        "save_load",
        "train_eval_mode",
    ),
}
"""Of each package, those that use algorithms which have a counterpart here.

Of SB3's, `test_cnn` takes minutes, `test_identity` has thresholds of returns that an
MLP reaches, and `test_gae` makes policies of its own without a memory.
"""


class Refused(NamedTuple):
    """Tests that fail on purpose."""

    reason: str
    tests: str
    """A regular expression of their names, FILE::TEST."""
    message: str
    """A regular expression of what each of them fails with."""


GSDE = r"gSDE \(use_sde=True\)"
N_STEPS = "n-step returns"
REPLAY = "names of arrays in a replay buffer without sequences"
OF_REPLAY = "'SequenceReplayBuffer' object has no attribute"
CRITICS = "extractors of critics, which see what the actor's extractor gives"
OWN_EXTRACTOR = "has no attribute 'features_extractor'"

REFUSED = {
    "stable-baselines3": [
        Refused(
            "gSDE off-policy",
            r"test_state_dependent_noise.*SAC|test_sde_multi_dim"
            r"|test_offpolicy_multi_env.*SAC|test_save_load_policy\[True.*SAC",
            GSDE,
        ),
        Refused(
            "updates before there is a whole sequence",
            "test_offpolicy_multi_env.*TD3",
            r"0\.0 == \(3 \* 2\)",
        ),
        Refused(
            "assertions of SB3's PPO that RecurrentPPO does not have",
            "test_ppo_warnings",
            "DID NOT RAISE",
        ),
        Refused(
            "policies by name: the replay of sequences takes MlpPolicy for a Dict",
            "test_policy_hint",
            "DID NOT RAISE|NatureCNN must be used",
        ),
        Refused(
            "handle_timeout_termination=False",
            r"test_warn_buffer\[True",
            "handle_timeout_termination=False is not supported",
        ),
        Refused(REPLAY, "test_save_load::test_save_load_replay_buffer", OF_REPLAY),
        Refused(
            "n-step returns",
            "test_n_step_replay::test_(run|n_steps)",
            f"{N_STEPS}|DID NOT WARN|has no sequences",
        ),
        Refused(
            "hindsight experience replay",
            "test_her::|test_her_normalization",
            "hindsight",
        ),
        Refused(
            CRITICS,
            r"test_(td3|sac)_train_with_batch_norm"
            r"|test_offpolicy_collect_rollout_batch_norm"
            r"|test_predict_with_dropout_batch_norm\[Pendulum.*(TD3|SAC)",
            OWN_EXTRACTOR,
        ),
    ],
    "sb3-contrib": [
        Refused(
            CRITICS,
            r"test_feature_extractor_target_net\[True|test_tqc_train_with_batch_norm"
            r"|test_offpolicy_collect_rollout_batch_norm"
            r"|test_predict_with_dropout_batch_norm\[Pendulum.*TQC",
            OWN_EXTRACTOR,
        ),
        Refused(
            "share_features_extractor=False",
            r"test_feature_extractor_target_net\[False",
            "share_features_extractor=False is not supported",
        ),
        Refused("gSDE off-policy", "test_run::test_sde", GSDE),
        Refused("n-step returns", "test_crossq", N_STEPS),
        Refused(REPLAY, "test_save_load_replay_buffer", OF_REPLAY),
    ],
}


def suite_of(package, folder):
    """The folder with the tests of the installed version of a package."""
    archive = f"{package.replace('-', '_')}-{version(package)}"
    if not (folder / archive / "tests").is_dir():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        # what the build needs is installed, so that nothing else is downloaded
        command += ["--no-binary", ":all:", "--no-build-isolation", "-d", str(folder)]
        command.append(f"{package}=={version(package)}")
        download = subprocess.run(command, capture_output=True, text=True)
        if download.returncode:
            pytest.skip(f"the tests of {package} cannot be downloaded")
        with tarfile.open(folder / f"{archive}.tar.gz") as packed:
            members = packed.getmembers()
            wanted = [
                x
                for x in members
                if x.name.startswith(f"{archive}/tests/")
                or x.name == f"{archive}/pyproject.toml"
            ]
            # without the package beside them, so that the installed one is tested
            packed.extractall(folder, wanted, filter="data")
    return folder / archive


def outcomes_of(suite, files, report):
    """What each test fails with, by FILE::TEST; None: it passes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "sb3_in_place"]
    command += ["-p", "no:cacheprovider", "-m", "not slow and not expensive"]
    command += [f"--junitxml={report}", f"--rootdir={suite}"]
    command += [f"tests/test_{name}.py" for name in files]
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    variables = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        command, cwd=suite, env=variables, capture_output=True, text=True
    )
    assert report.is_file(), ran.stdout + ran.stderr
    return outcomes_in(report)


def outcomes_in(report):
    """The same, of a report in JUnit's format."""
    outcomes = {}
    for test in ElementTree.parse(report).iter("testcase"):
        if test.find("skipped") is not None:
            continue
        file = test.get("classname").rpartition(".")[2]
        problem = test.find("failure")
        if problem is None:
            problem = test.find("error")
        message = None if problem is None else problem.get("message", "")
        outcomes[f"{file}::{test.get('name')}"] = message
    return outcomes


def compare(package, outcomes):
    """Asserts that what fails is what is refused."""
    failed = {name: text for name, text in outcomes.items() if text is not None}
    unexpected = dict(failed)
    for refused in REFUSED[package]:
        named = {name for name in outcomes if re.search(refused.tests, name)}
        assert named, f"there is no test {refused.tests}"
        passed = named - failed.keys()
        assert not passed, f"{refused.reason} is refused, and these pass: {passed}"
        for name in named:
            if re.search(refused.message, failed[name]):
                unexpected.pop(name, None)
    assert not unexpected


@pytest.mark.parametrize("package", FILES)
def test_what_fails_is_refused_on_purpose(package, tmp_path, pytestconfig):
    suite = suite_of(package, pytestconfig.cache.mkdir("sb3-suites"))
    outcomes = outcomes_of(suite, FILES[package], tmp_path / "report.xml")
    compare(package, outcomes)
    listed = f"| {package} {version(package)} |"
    if listed in PAGE.read_text():
        failed = sum(text is not None for text in outcomes.values())
        counts = f" {len(outcomes) - failed} of {len(outcomes)} |"
        assert listed + counts in PAGE.read_text()
