"""Peak memory of one rollout and update with 64 x 64 fast weights, each in its own process.

python -m benchmarks.memory
"""

import argparse
import resource
import subprocess
import sys

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

from spikepropamine.agents import PlasticPPO
from spikepropamine.policies import PlasticSpikingPolicy

STEPS, ENVS = 1024, 8
KINDS = ("nothing", "PlasticPPO", "RecurrentPPO")


def peak(kind: str) -> float:
    """Peak resident memory of this process, in MiB, after one rollout and update."""
    torch.set_num_threads(1)
    # with other seeds, one in fifty, gradients through RecurrentPPO's whole episodes overflow
    venv = make_vec_env("Pendulum-v1", ENVS, seed=0)
    settings = {"n_steps": STEPS, "batch_size": 256, "n_epochs": 1, "seed": 0}
    settings["policy_kwargs"] = {"network": {"rule": "oja", "modulation": "direct"}}
    if kind == "PlasticPPO":
        model = PlasticPPO("PlasticSpikingPolicy", venv, sequence_length=32, **settings)
    elif kind == "RecurrentPPO":
        model = RecurrentPPO(PlasticSpikingPolicy, venv, **settings)
    else:  # everything but a rollout: what the interpreter and its libraries take
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model.learn(STEPS * ENVS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, help="of this process alone (each)")
    options = parser.parse_args()
    if options.kind is not None:
        print(peak(options.kind))
        return
    print(f"peak resident memory, {ENVS} environments x {STEPS} steps, 64 x 64 fast weights")
    for kind in KINDS:
        output = subprocess.check_output([sys.executable, "-m", "benchmarks.memory", kind])
        print(f"{kind:15}{float(output):8.0f} MiB")


if __name__ == "__main__":
    main()
