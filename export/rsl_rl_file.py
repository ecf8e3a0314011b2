"""A policy as an ONNX file with the names and shapes of rsl_rl's recurrent export, so
that robot runtimes that run an LSTM of rsl_rl run a plastic network.

They read `h_in` and `c_in` [layers, 1, width] off the file, fill them with zeros where
an episode starts, and hand `h_out` and `c_out` back at the next step. What the policy
carries lies in these two: an LSTM's hidden and cell state, or a spiking network's flat
state, cut in halves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from spikepropamine.export.onnx_file import OnnxPolicy, Step, to_file
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.state import StateLayout

OBSERVATION = "obs"
ACTIONS = "actions"
STATES = ("h_in", "c_in")
NEW_STATES = ("h_out", "c_out")


class States(nn.Module):
    """Where a flat state lies in the two of an LSTM.

    Args:
        layout: of the flat state.
    """

    def __init__(self, layout: StateLayout) -> None:
        super().__init__()
        self.size = layout.size
        self.shape = (1, 1, (layout.size + 1) // 2)
        if layout.shapes.keys() == {"hidden", "cell"}:
            layers, width = layout.shapes["hidden"]
            self.shape = (layers, 1, width)

    def split(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The states h and c [layers, 1, width] of a flat state [1, D]; of an odd D,
        the second ends with a zero.
        """
        layers, _, width = self.shape
        missing = flat.new_zeros(1, 2 * layers * width - self.size)
        h, c = torch.cat([flat, missing], dim=1).split(layers * width, dim=1)
        return h.reshape(self.shape), c.reshape(self.shape)

    def join(self, h: Tensor, c: Tensor) -> Tensor:
        """The flat state [1, D] that `split` cut."""
        whole = torch.cat([h.reshape(1, -1), c.reshape(1, -1)], dim=1)
        return whole[:, : self.size]


class RslRlStep(nn.Module):
    """One step of one robot, with the inputs and outputs of rsl_rl.

    Args:
        deployed: the policy, of observations and actions that are vectors.
    """

    def __init__(self, deployed: DeployedPolicy) -> None:
        super().__init__()
        self.step = Step(deployed, deployed.policy.observation_space)
        layout = self.step.layout
        self.states = None if layout is None else States(layout)

    def forward(self, obs: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Observation [1, n] float32, and h and c where the policy has a memory; to
        actions [1, m], and new states.
        """
        if self.states is None:
            (actions,) = self.step(obs)
            return (actions.float(),)
        actions, after = self.step(obs, self.states.join(*states))
        return (actions.float(), *self.states.split(after))


def to_rsl_rl(deployed: DeployedPolicy, card: Mapping[str, Any]) -> bytes:
    """The contents of an ONNX file.

    Inputs are `obs` [1, n], and `h_in` and `c_in` [layers, 1, width], zero where an
    episode starts; outputs are `actions` [1, m], the likeliest ones, `h_out` and
    `c_out`; all float32. A policy without memory has `obs` and `actions` alone.

    Args:
        deployed: the policy, with its normalisation.
        card: what the file says about itself, as for `onnx_file.to_onnx`.

    Raises:
        ValueError: observations or actions are no vectors, which rsl_rl does not have.
    """
    policy = deployed.policy
    spaces_of = {
        "observations": policy.observation_space,
        "actions": policy.action_space,
    }
    for what, space in spaces_of.items():
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"rsl_rl's files have vectors, and this policy's {what} are "
                f"{type(space).__name__}{space.shape or ''}: use --format onnx"
            )
    step = RslRlStep(deployed).eval()
    inputs = [torch.zeros(1, *(policy.observation_space.shape or ()))]
    names = [OBSERVATION]
    outputs = [ACTIONS]
    layout = None
    if step.states is not None:
        assert step.step.layout is not None
        layout = dict(step.step.layout.shapes)
        inputs += [torch.zeros(step.states.shape), torch.zeros(step.states.shape)]
        names += STATES
        outputs += NEW_STATES
    about = dict(card) | {"state": layout}
    return to_file(step, inputs, names, outputs, about, free_batch=False)


class RslRlPolicy(OnnxPolicy):
    """The contents of a file, as `to_rsl_rl` makes it, run as a robot's runtime runs
    it.
    """

    def reset(self) -> None:
        """An episode starts."""
        self.state = {
            x.name: np.zeros(x.shape, dtype=np.float32)
            for x in self.session.get_inputs()
            if x.name in STATES
        }

    def act(self, observation: Any) -> np.ndarray:
        """The action for an observation, a vector."""
        seen = {OBSERVATION: np.asarray(observation, np.float32)[None]}
        action, *states = self.session.run(None, seen | self.state)
        self.state = dict(zip(STATES, states))
        return action[0]

    def take(self, flat: np.ndarray) -> None:
        """Goes on from a flat state [1, D]."""
        h = self.state[STATES[0]]
        whole = np.zeros((1, 2 * h.size), np.float32)
        whole[:, : flat.shape[1]] = flat
        halves = np.split(whole, 2, axis=1)
        self.state = {name: half.reshape(h.shape) for name, half in zip(STATES, halves)}
