"""A policy as one ONNX file: observation and state in, action and state out, one step
at a time.

Normalisation, plasticity and neuromodulators are inside, so that the file keeps on
learning wherever ONNX runs. The equations are those of `policies.reference`.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from spikepropamine.policies import deployed as acting
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.fast import DISTRIBUTIONS, NETWORKS
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.policies.state import StateLayout

OPSET = 17
STEPS = 1000  # of the check
# of numbers up to 1, and relative of larger ones; they differ by rounding alone
TOLERANCE = 1e-3
NUMPY = {"float": "float32", "double": "float64"}
"""Types of arrays by ONNX's names, where these are others."""
OBSERVATION = "observation"
STATE = "state"
ACTION = "action"
NEW_STATE = "new_state"


class Step(nn.Module):
    """One step of a deployed policy as a function of tensors, all with the batch first;
    the `space` is that of the observations, and `watched` as in `state_layout`.

    Attributes:
        layout: of the state, one flat float32 vector for each row; None where there is
            none.
    """

    def __init__(
        self, deployed: DeployedPolicy, space: spaces.Space, watched: bool = False
    ) -> None:
        super().__init__()
        policy: Any = deployed.policy
        self.layout = state_layout(policy, watched)
        if isinstance(policy, PlasticSpikingPolicy):
            parameters = policy._get_constructor_parameters() | {"backend": "reference"}
            readable = type(policy)(**parameters)
            readable.load_state_dict(policy.state_dict())
            readable.set_training_mode(False)
            readable.network.keep_weights()
            policy = readable
        self.policy = policy
        self.normalisation = deployed.normalisation
        kind = next(cls for cls in type(policy).__mro__ if cls in NETWORKS)
        self.actor = NETWORKS[kind](policy)[0]
        self.actions = DISTRIBUTIONS[type(policy.action_dist)](policy)
        self.keys = list(space.spaces) if isinstance(space, spaces.Dict) else None
        pairs = {"": (space, policy.observation_space)}
        if isinstance(space, spaces.Dict):
            pairs = {
                k: (part, policy.observation_space[k]) for k, part in space.items()
            }
        # pictures whose channels come last, while those of the policy come first
        self.turned = {k for k, (ours, its) in pairs.items() if ours.shape != its.shape}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Observations, one tensor for each key of a Dict, and the state [B, D] where
        there is one; to actions as the environment takes them, and the new state.
        """
        policy = self.policy
        space = self.policy.action_space
        observation: Any = self._normalised("", inputs[0])
        if self.keys is not None:
            observation = {
                key: self._normalised(key, x) for key, x in zip(self.keys, inputs)
            }
        extractor = policy.pi_features_extractor
        features = BasePolicy.extract_features(policy, observation, extractor)
        # not `len`, which a trace takes for a constant
        starts = features.new_zeros(1, features.shape[0])
        before = None if self.layout is None else self._before(inputs[-1])
        logits, _, after = self.actor(features, before, starts)
        actions = self.actions.mode(logits).reshape(-1, *space.shape)
        if isinstance(space, spaces.Box):
            low = torch.as_tensor(space.low)
            high = torch.as_tensor(space.high)
            actions = torch.minimum(torch.maximum(actions, low), high)
        return (actions,) if self.layout is None else (actions, self._after(after))

    def _before(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The state as the policy takes it."""
        assert self.layout is not None
        fields = self.layout.unpack(flat)
        if not isinstance(self.policy, PlasticSpikingPolicy):
            hidden = fields["hidden"].transpose(0, 1).contiguous()
            cell = fields["cell"].transpose(0, 1).contiguous()
            return hidden, cell
        whole = self.policy.layout
        left_out = {
            name: flat.new_zeros(flat.shape[0], *shape)
            for name, shape in whole.shapes.items()
            if name not in self.layout.shapes
        }
        flat = whole.pack(fields | left_out)[None]
        return flat, flat[..., :1]

    def _after(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """The state as the file gives it."""
        assert self.layout is not None
        if isinstance(self.policy, PlasticSpikingPolicy):
            return self.layout.pack(self.policy.layout.unpack(state[0][0]))
        fields = zip(("hidden", "cell"), (x.transpose(0, 1) for x in state))
        return self.layout.pack(dict(fields))

    def _normalised(self, key: str, x: Tensor) -> Tensor:
        """As `policies.deployed.Normalisation`, to the last bit; pictures as the
        policy's are.
        """
        if key in self.turned:
            return x.permute(0, 3, 1, 2)
        if self.normalisation is None or key not in self.normalisation.statistics:
            return x
        mean, var = self.normalisation.statistics[key]
        spread = np.sqrt(var + self.normalisation.epsilon)
        scaled = (x.double() - torch.as_tensor(mean)) / torch.as_tensor(spread)
        bound = self.normalisation.clip
        return scaled.clamp(-bound, bound).float()


def state_layout(policy: Any, watched: bool = False) -> StateLayout | None:
    """Fields of the state that the file takes and gives.

    A spiking policy's are those of its network, less what only experiments on it need.
    `plasticity_off` is among them: where it is 1 the fast weights keep the value that
    they have.

    Args:
        policy: of any kind.
        watched: whether the neuromodulators are among them too, with their values at
            the latest step.

    Returns:
        None for a policy without memory.
    """
    if isinstance(policy, PlasticSpikingPolicy):
        needless = {"modulator_held"}
        if not watched:
            fields = policy.layout.shapes
            needless |= {name for name in fields if name.endswith(".modulation")}
        return StateLayout(
            {k: v for k, v in policy.layout.shapes.items() if k not in needless}
        )
    if hasattr(policy, "lstm_actor"):
        shape = (policy.lstm_actor.num_layers, policy.lstm_actor.hidden_size)
        return StateLayout({"hidden": shape, "cell": shape})
    return None


def to_onnx(
    deployed: DeployedPolicy,
    card: Mapping[str, Any],
    space: spaces.Space | None = None,
    watched: bool = False,
) -> bytes:
    """The contents of an ONNX file.

    Inputs are `observation` [B, ...], of the environment's own type, or
    `observation.KEY` for each key of a Dict observation, and `state` [B, D] float32,
    zero where an episode starts; outputs are `action` [B, ...], the likeliest one, and
    `new_state`. A policy without memory has no state.

    Args:
        deployed: the policy, with its normalisation.
        card: what the file says about itself, in its metadata: name to anything that
            JSON holds.
        space: of the environment's observations; None: as the policy's, whose pictures
            have their channels first.
        watched: whether the state has the neuromodulators.
    """
    space = deployed.policy.observation_space if space is None else space
    step = Step(deployed, space, watched).eval()
    parts = _by_input(space.spaces if isinstance(space, spaces.Dict) else space)
    examples = {
        k: np.zeros((2, *(x.shape or ())), dtype=x.dtype) for k, x in parts.items()
    }
    names = list(examples)
    outputs = [ACTION]
    inputs = [torch.as_tensor(x) for x in examples.values()]
    if step.layout is not None:
        names = [*names, STATE]
        outputs = [ACTION, NEW_STATE]
        inputs.append(torch.zeros(2, step.layout.size))
    layout = None if step.layout is None else dict(step.layout.shapes)
    return to_file(step, inputs, names, outputs, dict(card) | {"state": layout})


def to_file(
    step: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    outputs: Sequence[str],
    card: Mapping[str, Any],
    free_batch: bool = True,
) -> bytes:
    """The contents of an ONNX file.

    Args:
        step: what it does, a function of tensors.
        inputs: examples of them.
        names: of the inputs.
        outputs: their names.
        card: its metadata: name to anything that JSON holds.
        free_batch: whether the first axis of all of them is as long as one likes.
    """
    import onnx

    axes = {name: {0: "batch"} for name in [*names, *outputs]} if free_batch else {}
    buffer: Any = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about branches that depend on data: on flags that are 0
        torch.onnx.export(
            step,
            tuple(inputs),
            buffer,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter refuses branches that depend on data
        )
    model = onnx.load_from_string(buffer.getvalue())
    for key, value in card.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=key, value=text)
    model.doc_string = str(card.get("summary", ""))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _by_input(whole: Any) -> dict[str, Any]:
    """What there is one of, or one for each key, by the names of the inputs of a
    file.
    """
    if isinstance(whole, dict):
        return {f"{OBSERVATION}.{key}": part for key, part in whole.items()}
    return {OBSERVATION: whole}


class OnnxPolicy:
    """The contents of a file, as `to_onnx` makes it, run by ONNX Runtime for a single
    environment.

    Attributes:
        state: what the file carries from step to step: by name, one row.
    """

    def __init__(self, contents: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the networks are small
        self.session = onnxruntime.InferenceSession(contents, options)
        self.reset()

    def reset(self) -> None:
        """An episode starts."""
        state = [x for x in self.session.get_inputs() if x.name == STATE]
        self.state = {
            x.name: np.zeros((1, *x.shape[1:]), dtype=np.float32) for x in state
        }

    def act(self, observation: Any) -> np.ndarray:
        """The action for an observation as the environment gives it."""
        parts = _by_input(observation)
        # environments may give other types than their spaces say, as training lets them
        types = {x.name: x.type[len("tensor(") : -1] for x in self.session.get_inputs()}
        feed = {
            n: np.asarray(x, NUMPY.get(types[n], types[n]))[None]
            for n, x in parts.items()
        }
        action, *state = self.session.run(None, feed | self.state)
        self.state = dict(zip(self.state, state))
        return action[0]

    def take(self, flat: np.ndarray) -> None:
        """Goes on from a flat state [1, D]."""
        self.state = {STATE: flat}


class Check(NamedTuple):
    """What came of running a file beside its policy."""

    steps: int  # that were compared
    # largest one between actions that are numbers, without the steps below; else 0
    difference: float
    # steps in which the two went apart, since rounding decided whether a neuron fires
    apart: int


def check(
    contents: bytes,
    deployed: DeployedPolicy,
    env: gym.Env,
    seed: int,
    steps: int = STEPS,
    player: type[OnnxPolicy] = OnnxPolicy,
) -> Check:
    """Runs the file on ONNX Runtime beside the policy.

    Both see the same observations and carry their own state. Sums are rounded in
    another order, so once in ten thousand steps a neuron of one fires where the
    potential of the other's is a rounding error below the threshold; the file then goes
    on from the policy's state.

    Args:
        contents: of the file.
        deployed: the policy, whose actions the task takes.
        env: its task, which is not closed.
        seed: of the first episode; the next have the next numbers.
        steps: how many, in all episodes.
        player: what runs the file.

    Raises:
        ValueError: they differ by more than rounding can explain.
    """
    exported = player(contents)
    policy: Any = deployed.policy
    layout = state_layout(policy) if isinstance(policy, PlasticSpikingPolicy) else None
    allowed = 0 if layout is None else max(1, steps // 500)
    worst = 0.0
    apart = 0
    for number, step in enumerate(islice(acting.steps(deployed, env, seed), steps)):
        if step.begins:
            exported.reset()
        action = exported.act(step.observation)
        if isinstance(env.action_space, spaces.Box):
            difference = float(np.abs(action - step.action).max())
        else:
            difference = 0.0 if np.array_equal(action, step.action) else np.inf
        if difference <= TOLERANCE * max(1.0, float(np.abs(step.action).max())):
            worst = max(worst, difference)
        else:
            apart += 1
            if apart > allowed:
                raise ValueError(
                    f"step {number}: the file acts {action.tolist()}, the policy "
                    f"{step.action.tolist()}"
                )
            assert layout is not None and step.state is not None
            flat = step.state[0]
            fields = [
                policy.layout.get(flat, name).reshape(1, -1) for name in layout.shapes
            ]
            exported.take(np.concatenate(fields, axis=1))
    return Check(steps, worst, apart)
