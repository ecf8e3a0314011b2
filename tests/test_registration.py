"""A module of the user's own: its environment, policy, rule and perturbation, on every
command.
"""

import sys

import pytest
from train_runs import TINY

from spikepropamine import versions
from spikepropamine.__main__ import main
from spikepropamine.matrix.cells import cells_of
from spikepropamine.matrix.definition import load_matrix
from spikepropamine.matrix.stamp import asked_of
from spikepropamine.policies.rules import RULES

MODULE = '''
import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO

import spikepropamine as sp


class Corridor(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return self._observed(), {}

    def step(self, action):
        self.clock += 1
        return self._observed(), float(action), self.clock == 10, False, {}

    def _observed(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


def half(p, q, f):
    """Half of Hebb's rule."""
    return 0.5 * q * p - f


def blinded(observation, value, bound):
    return observation * (1 - value)


def small(venv, network, trainer, backend, arguments):
    arguments["policy_kwargs"]["net_arch"] = [4]
    return PPO("MlpPolicy", venv, **arguments)


gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=10)
sp.register_rule("half", half)
sp.register_policy("small", sp.Agent("four neurons", small))
sp.register_perturbation(
    sp.Family(
        "blinded", "sensing", "sees less.", "share", nominal=0, hardest=1,
        observe=blinded,
    )
)
'''


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """The name of a module in the working directory, another one in each test;
    forgotten again.
    """
    name = f"own_{request.node.name.split('[')[0]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)
    versions.imported.clear()
    import gymnasium

    from spikepropamine.agents import zoo
    from spikepropamine.envs.perturbations import CATALOGUE

    for table, entry in (
        (gymnasium.registry, "Corridor-v0"), (zoo._registered, "small"),
        (CATALOGUE, "blinded"), (RULES, "half"),
    ):  # fmt: skip
        table.pop(entry, None)


@pytest.mark.parametrize(("policy", "workers"), [("small", "2"), ("ndp-half", "1")])
def test_an_own_environment_policy_rule_and_perturbation_train_and_are_evaluated(
    module, policy, workers, tmp_path, capsys
):
    task = [
        "--env",
        f"{module}:Corridor-v0",
        "--policy",
        policy,
        "--perturb",
        "blinded=0..0.5",
    ]
    assert main(["train", *task, *TINY, "--backend", "reference"]) == 0
    run = tmp_path / "runs" / "Corridor-v0" / policy / "seed-0"
    assert f"imports:\n  - {module}" in (run / "config.yaml").read_text()
    judge = ["evaluate", str(run), "--perturb", "blinded=1", "--episodes", "4"]
    judge += ["--workers", workers]
    capsys.readouterr()

    versions.imported.clear()  # as in a new process, which imports nothing by itself
    assert main(judge) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"needs modules of its own: add --import {module}")
    assert not (run / "evaluations").exists()

    assert main([*judge, "--import", module]) == 0
    assert "blinded=1" in capsys.readouterr().out


def test_a_run_that_goes_on_with_other_code_of_ones_own_says_so(
    module, tmp_path, capsys
):
    train = ["train", "--env", f"{module}:Corridor-v0", "--policy", "mlp", *TINY]
    (tmp_path / "own.yaml").write_text(
        f"envs: [Corridor-v0]\npolicies: [mlp]\nseeds: [0]\ntrain: --import {module}\n"
    )
    (cell,) = cells_of(load_matrix(str(tmp_path / "own.yaml")), tmp_path)
    before = asked_of(cell)
    assert main(train) == 0
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    assert main([*train, "--resume", "--steps", "64"]) == 0
    assert (
        f"are not those of one run: the code of {module} was" in capsys.readouterr().err
    )
    changed = {name for name, value in asked_of(cell).items() if value != before[name]}
    assert changed == {f"code of {module}"}


def test_what_a_module_brings_is_listed_and_verified(module, capsys):
    for what, name in (
        ("envs", "Corridor-v0"), ("policies", "small"), ("policies", "dp-half"),
        ("rules", "half"), ("perturbations", "blinded"),
    ):  # fmt: skip
        assert main(["list", what, "--import", module]) == 0
        assert name in capsys.readouterr().out
    assert (
        main(
            ["verify", "--env", "Corridor-v0", "--only", "blinded", "--import", module]
        )
        == 0
    )
    assert "1 proven, 0 failed" in capsys.readouterr().out


def test_a_list_can_be_of_a_part_of_the_names(capsys):
    assert main(["list", "trained", "swimmer-v5/NDP"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(
        "/Swimmer-v5/ndp-oja/seed-" in line.split()[0] for line in lines
    )
    assert main(["list", "suites", "standard"]) == 0
    assert capsys.readouterr().out.startswith("standard  Noise")
    assert main(["list", "matrices", "robots-suites"]) == 0
    assert (
        "keep their return under perturbations" in capsys.readouterr().out
    )  # a whole sentence
    assert main(["list", "envs", "nowhere"]) == 2
    assert "envs: no name has 'nowhere' in it" in capsys.readouterr().err


def test_a_module_that_is_none_or_broken_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mine.py", "../mine"):
        assert main(["list", "envs", "--import", name]) == 2
        assert f"--import takes a module, as in package.module, not '{name}'" in (
            capsys.readouterr().err
        )
    (tmp_path / "own_broken.py").write_text("import no_such_package\n")
    assert main(["list", "rules", "--import", "own_broken"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'own_broken' cannot be imported: " in line and "'no_such_package'" in line
