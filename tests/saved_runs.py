"""Untrained policies, and run folders of them, for tests of what judges and shows
them.
"""

import csv
from pathlib import Path

import torch
import yaml
from stable_baselines3.common.policies import ActorCriticPolicy

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.envs.making import make
from spikepropamine.evaluation.command import measure, parse, plan_of
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import save_policy
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.report import evaluate
from spikepropamine.report.evaluation import EvaluationResults

CUES = "CueAssociation-v0"
PENDULUM = "Pendulum-v1"
ROBOT = "HalfCheetahCue-v0"
LESSON = "HalfCheetahCueLesson-v0"
ARGUMENTS = {
    CUES: {"trials": 4},
    ROBOT: {"trials": 4, "cue_length": 3, "feedback_length": 2, "told": 0.5},
    LESSON: {"trials": 4, "cue_length": 3, "settle_length": 0, "reversal": None},
}
ROOT = Path(__file__).parent.parent


def make_policy(environment, kind="ndp-oja", seed=0, previous=False, **changes):
    """An untrained policy with weights large enough to be interesting, and nothing to
    compile.
    """
    env = make(environment, previous=previous)
    env.close()
    torch.manual_seed(seed)
    spaces = (env.observation_space, env.action_space, lambda _: 0.0)
    if kind == "mlp":
        policy = ActorCriticPolicy(*spaces, net_arch=[64])
    else:
        plastic = kind != "snn"
        network = {
            "rule": "oja" if plastic else "none",
            "modulation": "direct" if plastic else "none",
            "hidden": (24, 16), "ticks": 2, "input_gain": 4.0, "gain": 3.0,
            "plasticity_gain": 3.0,
        }  # fmt: skip
        policy = PlasticSpikingPolicy(
            *spaces, network=network | changes, backend="reference"
        )
    with torch.no_grad():
        policy.action_net.weight.mul_(100)
    return DeployedPolicy(policy, None, {})


def save_run(folder, environment, kind, seed=0, previous=False) -> Path:
    settings = {
        "env": environment, "policy": kind, "seed": seed, "n_envs": 4,
        "env_kwargs": ARGUMENTS.get(environment, {}), "previous": previous,
    }  # fmt: skip
    run = folder / environment / kind / f"seed-{seed}"
    policy = make_policy(environment, kind, seed, previous).policy
    save_policy(run / "policy", policy, metadata={"settings": settings, "steps": 123})
    return run


def command_line(*arguments, overwrite=True) -> int:
    arguments = [*map(str, arguments), *["--overwrite"] * overwrite]
    return evaluate.main(arguments, "evaluate.py")


def measured(*arguments) -> EvaluationResults:
    """What an evaluation finds, without its report, which takes longer than these
    episodes.
    """
    options = parse([*map(str, arguments), "--overwrite"], "evaluate")
    plan = plan_of(options)
    measure(plan, options)
    return EvaluationResults.read(plan.folder)


def write_run(folder, policy, seed, rows):
    folder.mkdir(parents=True)
    settings = {"env": "Pendulum-v1", "policy": policy, "seed": seed, "steps": 400}
    (folder / "config.yaml").write_text(yaml.safe_dump({"settings": settings}))
    if rows:
        with (folder / "progress.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["rollout/ep_rew_mean", "time/total_timesteps"])
            writer.writerows(rows)
