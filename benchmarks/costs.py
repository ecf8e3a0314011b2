"""What trained policies cost: operations, energy, memory, and exported as ONNX the time of a step.

    python -m benchmarks.costs RUN|NAME... [--csv FILE]

Operations are those of a step of one clean episode, by the definitions of `evaluation.judge.cost`.
NeuroBench (an extra of nobody: pip install neurobench snntorch) counts those of the spiking layers
of a static policy, in an equal network of snnTorch; measures that begin with `spiking` are ours of
these layers. Times of a step are medians over 500, of one environment in one thread.
"""

import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Rows, run
from spikepropamine.common import UNSEEN_SEED
from spikepropamine.evaluation.ask.conditions import CLEAN, Task, make_env
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.evaluation.film.recording import observed
from spikepropamine.evaluation.judge.cost import KINDS, PARTS, cost_of, energy, total
from spikepropamine.export import onnx_file
from spikepropamine.folder import find
from spikepropamine.policies.policy import PlasticSpikingPolicy

STEPS = 500


def operations(run: Run, task: Task) -> dict[str, float]:
    """Of a step, with energy and memory."""
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        observations = observed(run.policy, env, UNSEEN_SEED)
    policy: Any = run.policy.policy
    cost = cost_of(policy, observations)
    found = {
        f"{part}_{kind}": round(float(count), 1)
        for part in PARTS
        for kind, count in zip(KINDS, total(cost, part))
    }
    found["energy_nJ"] = round(energy(total(cost)) / 1000, 1)
    found |= {name: round(cost[name]) for name in ("parameter_bytes", "state_bytes")}
    found["activation_sparsity"] = round(cost["activation_sparsity"] or 0.0, 4)
    if isinstance(policy, PlasticSpikingPolicy) and policy.network_config.rule == "none":
        spiking = cost["layers"][: len(policy.network.layers)]
        ours = sum(layer["synapses"] for layer in spiking)
        found |= {f"spiking_{kind}": round(float(x), 1) for kind, x in zip(KINDS, ours)}
        if find_spec("neurobench") is not None:
            counted = neurobench(policy, observations)
            found |= {f"neurobench_{name}": value for name, value in counted.items()}
    return found


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
        policy: a static one, without recurrence.
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


def exported(run: Run, task: Task) -> dict[str, float]:
    """Size of the ONNX file, how far its actions are from the policy's, and times of a step."""
    env = make_env(task, CLEAN, run.previous, run.revealed)
    contents = onnx_file.to_onnx(run.policy, {})
    found = onnx_file.check(contents, run.policy, env, UNSEEN_SEED)
    observation, _ = env.reset(seed=UNSEEN_SEED)
    env.close()
    policy, state = onnx_file.OnnxPolicy(contents), None

    def torch_step(step: int) -> None:
        nonlocal state
        start = np.array([step == 0])
        _, state = run.policy.predict(observation[None], state, start, deterministic=True)

    return {
        "onnx_kilobytes": round(len(contents) / 1000),
        "onnx_microseconds": _median(lambda _: policy.act(observation)),
        "torch_microseconds": _median(torch_step),
        "onnx_difference": found.difference,
        "onnx_steps_apart": found.apart,
    }


def _median(call: Callable[[int], object]) -> int:
    """Microseconds."""
    taken = []
    for step in range(STEPS):
        start = time.perf_counter()
        call(step)
        taken.append(time.perf_counter() - start)
    return round(1e6 * float(np.median(taken)))


def measure(rows: Rows, options: Any) -> None:
    """Adds runs, by folder or name."""
    for name in options.runs:
        (run,), task = load_runs([find(name)], range(UNSEEN_SEED, UNSEEN_SEED + 1))
        case = {"environment": run.environment, "policy": run.name, "seed": run.seed}
        rows.add(operations(run, task), **case)
        rows.add(exported(run, task), setting="exported", **case)


if __name__ == "__main__":
    run(measure, __doc__, {"runs": None})
