"""What trained policies cost, and beside static spiking ones what NeuroBench counts of them.

python -m benchmarks.costs RUN|NAME... [--out FILE]

Per environment step of one clean episode, by the definitions of `evaluation.judge.cost`. NeuroBench
(an extra of nobody: pip install neurobench snntorch) counts the spiking layers, without readout and
action, of an equal network in snnTorch; columns that begin with `spiking` are ours of these layers.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import write_rows
from spikepropamine.common import UNSEEN_SEED
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.judge.cost import PARTS, added, cost_of, energy, total
from spikepropamine.evaluation.run.observe import observed
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.trained import find

KINDS = ("accumulates", "multiply_accumulates")


def measured(name: str) -> dict[str, Any]:
    """The row of a run."""
    (run,), task = load_runs([find(name)], range(UNSEEN_SEED, UNSEEN_SEED + 1))
    observations = observed(run, task, UNSEEN_SEED)
    policy: Any = run.policy.policy
    cost = cost_of(policy, observations)
    row: dict[str, Any] = {"env": run.environment, "policy": run.name, "seed": run.seed}
    for part in PARTS:
        row |= {f"{part}_{kind}": round(total(cost, part)[kind], 1) for kind in KINDS}
    row["energy_nJ"] = round(energy(total(cost)) / 1000, 1)
    row |= {name: round(cost[name]) for name in ("parameter_bytes", "state_bytes")}
    row["activation_sparsity"] = round(cost["activation_sparsity"] or 0.0, 4)
    if isinstance(policy, PlasticSpikingPolicy) and policy.network_config.rule == "none":
        spiking = cost["layers"][: len(policy.network.layers)]
        ours = added([layer["synapses"] for layer in spiking])
        row |= {f"spiking_{kind}": round(ours[kind], 1) for kind in KINDS}
        row |= {f"neurobench_{name}": x for name, x in neurobench(policy, observations).items()}
    return row


class Equal(torch.nn.Module):
    """The spiking layers of a static feedforward policy, in snnTorch."""

    def __init__(self, policy: PlasticSpikingPolicy) -> None:
        super().__init__()
        import snntorch

        layers = list(policy.network.layers)
        parts: list[torch.nn.Module] = []
        for layer in layers:
            linear = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
            linear.weight.data, linear.bias.data = layer.weight.data, layer.bias.data
            neurons = snntorch.Leaky(
                beta=torch.sigmoid(layer.membrane_decay).detach(),
                reset_mechanism="zero",
                reset_delay=False,
                init_hidden=True,
                output=layer is layers[-1],
            )
            parts += [linear, neurons]
        self.layers = torch.nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One tick: [B, n_in] to spikes and membrane potentials, [B, n]."""
        return self.layers(x)


@torch.no_grad()
def neurobench(policy: PlasticSpikingPolicy, observations: Any) -> dict[str, float]:
    """What NeuroBench counts of the spiking layers per environment step.

    Args:
        policy: a static one, without recurrence and population encoding.
        observations: of an episode, as the policy sees them, [T, ...].
    """
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import SNNTorchModel

    features = policy.extract_features(policy.obs_to_tensor(observations)[0])
    assert isinstance(features, torch.Tensor)
    model = SNNTorchModel(Equal(policy))
    model.register_hooks()
    data = features.repeat_interleave(policy.network.config.ticks, dim=0)[None]
    model(data)
    counts = SynapticOperations()(model, None, (data, None))
    return {
        "accumulates": round(counts["Effective_ACs"] / len(features), 1),
        "multiply_accumulates": round(counts["Effective_MACs"] / len(features), 1),
        "activation_sparsity": round(ActivationSparsity()(model, None, None), 4),
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN|NAME")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.runs:
        rows.append(measured(name))
        print(rows[-1], flush=True)
    if options.out is not None:
        write_rows(rows, options.out)


if __name__ == "__main__":
    main()
