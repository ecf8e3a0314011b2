"""The spiking network of an actor: layers, leaky readout, the layout of its state, its settings."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from spikepropamine.common import unknown
from spikepropamine.policies.backends import STATIC, choose, choose_step
from spikepropamine.policies.encoder import Encoder, at_ticks, pathways
from spikepropamine.policies.layers import LayerOutput, SpikingLayer, logit
from spikepropamine.policies.reference import SURROGATES, LayerSpec
from spikepropamine.policies.rules import RULES

Array = TypeVar("Array", Tensor, np.ndarray)

LARGEST = 1000  # of gains, bounds and slopes; larger ones overflow sooner or later
MOST_LAYERS = 100
WIDEST = 10_000
"""Neurons of a layer."""
MOST_DRAWN = 200
"""Networks that are kept of those that differ in weights drawn for an episode."""
POSITIVE = ("slope", "clip", "gain", "input_gain")
DECAYS = ("membrane_decay", "trace_decay", "threshold_decay", "readout_decay", "eta")
RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        ("ticks",),
        lambda x: x % 1 == 0 and 1 <= x <= 1000,
        "a whole number from 1 to 1000",
    ),
    (POSITIVE, lambda x: 0 < x <= LARGEST, f"above 0 and at most {LARGEST}"),
    (
        ("plasticity_gain", "modulator_gain"),
        lambda x: 0 <= x <= LARGEST,
        f"from 0 to {LARGEST}",
    ),
    (DECAYS, lambda x: 0 < x < 1, "between 0 and 1"),
)
"""Names of numbers, and what they must be."""
FLAGS = ("plasticity_off", "modulator_held")
ALIKE = ("units", "surrogate", "slope", "soft_reset", "clip", "decay")  # in all layers


def _are_widths(given: Iterable[Any]) -> bool:
    """Whether all are whole numbers from 1 to `WIDEST`."""
    return all(isinstance(x, Integral) and 1 <= x <= WIDEST for x in given)


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of a spiking actor network. Raises ValueError: a value out of range or an unknown
    name; the message says what would be right.
    """

    rule: str = "oja"
    """Rule of synaptic plasticity, one that is registered; none is the static network (F = 0)."""
    modulation: Literal["none", "direct", "retroactive", "feedback"] = "none"
    """none: the rule by itself; direct: a neuromodulator scales the rule; retroactive: it scales
    an eligibility trace of the rule (Backpropamine); feedback: direct and set by hand, the tanh of
    the sum of the exogenous channels, which have to be named."""
    units: Literal["spiking", "tanh"] = "spiking"
    """spiking: leaky integrate-and-fire neurons; tanh: leaky units without spikes, for comparison
    (they run on the readable implementation, which is slower)."""
    hidden: tuple[int, ...] = (64, 64)
    """Neurons of each layer. Of one layer, the last entries of plastic and recurrent hold."""
    plastic: tuple[bool, ...] = (False, True)
    """Which layers are plastic, one entry a layer."""
    recurrent: tuple[bool, ...] = (False, False)
    """Which layers are recurrent, one entry a layer."""
    ticks: int = 1
    """Ticks of network time per environment step."""
    phases: bool = False
    """Each tick of a step has input weights of its own, of the encoder or else the first layer, and
    of neuromodulators: so plastic synapses may store at one tick and recall at another."""
    encoder: tuple[int, ...] = ()
    """Widths of layers of tanh units, without state, between the observation and the first layer;
    none: the first layer sees the observation itself."""
    readout: Literal["spikes", "spikes+potentials"] = "spikes"
    """What the actor's output layer sees: filtered spikes, or membrane potentials as well."""
    surrogate: str = "fast_sigmoid"
    """Surrogate gradient: fast_sigmoid, arctan, triangle or rectangle."""
    slope: float = 5.0
    """Slope of the surrogate gradient, in 1 / potential."""
    soft_reset: bool = False
    """A spike subtracts the threshold from the potential, instead of zeroing it."""
    clip: float = 1.0
    """Bound of the fast weights."""
    decay: Literal["contracting", "plain"] = "contracting"
    """contracting: a rule's decay shrinks fast weights whatever the sign of the neuromodulator;
    plain: a negative neuromodulator turns decay into growth."""
    gain: float = 1.0
    """Spread of the initial weights of spiking inputs, times sqrt(fan-in)."""
    input_gain: float = 2.0
    """The same for the weights of the first layer."""
    plasticity_gain: float = 0.3
    """Spread of the initial plasticity gains alpha, times sqrt(fan-in)."""
    modulator_gain: float = 1.0
    """Spread of the initial weights of the neuromodulators, times sqrt(fan-in). With large ones
    fast weights forget within tens of ticks."""
    membrane_decay: float = 0.8
    """Initial decay beta of the membrane potential per tick (learned per neuron)."""
    trace_decay: float = 0.6
    """Initial decay of the pre- and postsynaptic traces per tick (learned per layer)."""
    threshold_decay: float = 0.9
    """Initial decay of the sliding threshold per tick, where a rule has one (learned per layer)."""
    readout_decay: float = 0.5
    """Initial decay of the leaky readout per tick (learned per neuron)."""
    eta: float = 0.18
    """Initial rate of plasticity, and initial level of the neuromodulator (learned)."""
    fresh_weights: Literal["none", "random", "zero"] = "none"
    """What the fixed weights of the layers are when an episode begins, if they are not trained:
    random: drawn anew, with the spreads of gain and input_gain (trainer.kind evolution only); zero;
    none: they are trained. What is exported has the draw of one episode."""
    exogenous: tuple[int | str, ...] | None = None
    """Observation channels that the neuromodulators see: indices, or keys of a Dict observation;
    left out: all of them."""

    def __post_init__(self) -> None:
        # JSON and YAML have lists only; one for all may stand alone
        for name in ("hidden", "plastic", "recurrent", "encoder", "exogenous"):
            given = getattr(self, name)
            if given is not None or name != "exogenous":
                several = isinstance(given, Iterable) and not isinstance(given, str)
                object.__setattr__(self, name, tuple(given) if several else (given,))
        hints = get_type_hints(type(self)).items()
        choices = {
            name: get_args(hint) for name, hint in hints if get_origin(hint) is Literal
        }
        choices |= {"rule": ("none", *RULES), "surrogate": tuple(SURROGATES)}
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise ValueError(unknown(name, getattr(self, name), valid))
        layers = len(self.hidden)
        if not 1 <= layers <= MOST_LAYERS or not _are_widths(self.hidden):
            raise ValueError(
                f"hidden must name the widths of 1 to {MOST_LAYERS} layers, "
                f"each from 1 to {WIDEST}, got {self.hidden}"
            )
        if len(self.encoder) > MOST_LAYERS or not _are_widths(self.encoder):
            raise ValueError(
                f"encoder must name the widths of 0 to {MOST_LAYERS} layers, "
                f"each from 1 to {WIDEST}, got {self.encoder}"
            )
        for name in ("plastic", "recurrent"):
            if layers == 1 and getattr(
                self, name
            ):  # a width alone: the layer is what any was
                object.__setattr__(self, name, (any(getattr(self, name)),))
            if len(given := getattr(self, name)) != layers:
                entries = f"one entry for each of the {layers} hidden layers"
                raise ValueError(f"{name} must have {entries}, got {given}")
        if self.phases and self.plastic[0] and not self.encoder:
            raise ValueError(
                "with phases the first layer has inputs of its own at each tick, and can recall "
                "at none what it stored at another: give an encoder, or make a later layer plastic"
            )
        for names, fits, words in RANGES:
            for name in names:
                if not isinstance(getattr(self, name), Real) or not fits(
                    getattr(self, name)
                ):
                    raise ValueError(
                        f"{name} must be {words}, got {getattr(self, name)}"
                    )
        if self.phases and self.ticks == 1:
            raise ValueError("phases need 2 ticks or more, and network.ticks is 1")
        if self.modulation == "feedback" and self.exogenous is None:
            raise ValueError(
                "modulation feedback needs exogenous, the channels of the feedback"
            )
        if self.modulation != "none" and self.rule == "none":
            raise ValueError(
                f"a neuromodulator needs a rule: one of {', '.join(RULES)}"
            )

    @property
    def pathways(self) -> int:
        """Blocks of channels that the first layer and neuromodulators see, one at a tick."""
        return self.ticks if self.phases else 1

    @classmethod
    def of(cls, value: "NetworkConfig | dict[str, Any] | None") -> "NetworkConfig":
        """A config out of a config, a mapping of its fields, or nothing (the defaults)."""
        if isinstance(value, NetworkConfig):
            return value
        value = value or {}
        for name in value:
            if name not in cls.__dataclass_fields__:
                raise ValueError(
                    unknown("network setting", name, cls.__dataclass_fields__)
                )
        return cls(**value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return asdict(self)


def completed_network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a network that was kept, with what older ones do not say, as it was before there
    was a choice, and without what is no setting any more.
    """
    known = {
        k: x for k, x in settings.items() if k in NetworkConfig.__dataclass_fields__
    }
    before = {
        "decay": "plain",
        "fresh_weights": "none",
        "phases": False,
        "encoder": (),
    }
    return before | known


@dataclass(frozen=True)
class StateLayout:
    """Names and shapes of the fields of one environment's state, packed in order.

    Attributes:
        shapes: field name to shape, without the batch axis.
        columns: fields, of two axes, that lie in the vector column by column.
    """

    shapes: Mapping[str, tuple[int, ...]]
    columns: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each field lies in the flat vector."""
        edges = pairwise(accumulate(map(prod, self.shapes.values()), initial=0))
        return {name: slice(*ends) for name, ends in zip(self.shapes, edges)}

    @cached_property
    def size(self) -> int:
        """Width D of the flat vector."""
        return sum(prod(shape) for shape in self.shapes.values())

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of the fields, each [B, *shape], of a flat state [B, D]."""
        parts = flat.split([prod(shape) for shape in self.shapes.values()], dim=1)
        return {
            name: self._shaped(part, name) for name, part in zip(self.shapes, parts)
        }

    def pack(self, state: Mapping[str, Tensor]) -> Tensor:
        """One flat state [B, D] out of fields [B, *shape]."""
        fields = (  # not `mT`, which cannot be exported to ONNX
            state[name].transpose(1, 2) if name in self.columns else state[name]
            for name in self.shapes
        )
        return torch.cat([field.flatten(1) for field in fields], dim=1)

    def get(self, flat: Array, name: str) -> Array:
        """View of one field, [..., *shape], of flat states [..., D] (tensor or NumPy array). Raises
        KeyError: no such field; the message lists the fields.
        """
        if name not in self.shapes:
            raise KeyError(
                f"no state field {name!r}; the fields are: {', '.join(self.shapes)}"
            )
        return self._shaped(flat[..., self.slices[name]], name)

    def _shaped(self, part: Array, name: str) -> Array:
        shape = self.shapes[name]
        if len(shape) == 1:
            return part
        if name in self.columns:
            return part.reshape(*part.shape[:-1], *shape[::-1]).swapaxes(-1, -2)
        return part.reshape(*part.shape[:-1], *shape)


class SpikingNetwork(nn.Module):
    """Spiking layers and leaky readout, over sequences of environment steps.

    It has the surface that sb3-contrib reads off an `nn.LSTM` (`input_size`, `num_layers`,
    `hidden_size`, and a call with a pair of states), so that its rollout and update code runs
    unchanged: the first of the pair is the whole state as one flat vector [1, B, D], described
    by `layout`; the second is a placeholder [1, B, 1].

    Args:
        channels: width of the (flattened) observation.
        config: the network's settings.
        exogenous: indices of the channels that the neuromodulators see.
        backend: what runs the layers, a key of `policies.backends.BACKENDS`; "auto" is the fastest
            that can.
    """

    num_layers = 1
    exogenous: Tensor
    layers: Sequence[SpikingLayer]

    def __init__(
        self,
        channels: int,
        config: NetworkConfig,
        exogenous: Sequence[int],
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self._observer: Callable[[list[LayerOutput]], None] | None = None
        self.input_size = channels
        seen, active = list(exogenous), channels
        if config.phases:
            seen, active = pathways(exogenous, channels, config.ticks), channels + 1
        self.register_buffer("exogenous", torch.tensor(seen, dtype=torch.long), False)
        self.shown_size = active * config.pathways
        self.encoder = Encoder(self.shown_size, config.encoder, active)
        layers = []
        width, by_hand = self.encoder.output_size, config.modulation == "feedback"
        modulation: Any = "direct" if by_hand else config.modulation
        for index, (neurons, plastic, recurrent) in enumerate(
            zip(config.hidden, config.plastic, config.recurrent)
        ):
            spec = LayerSpec(
                inputs=width,
                neurons=neurons,
                rule=config.rule if plastic else "none",
                modulation=modulation if plastic else "none",
                recurrent=recurrent,
                **{name: getattr(config, name) for name in ALIKE},
            )
            gain = config.gain if index else config.input_gain
            if index == 0 and not config.encoder:
                gain *= math.sqrt(
                    config.pathways
                )  # of the inputs one pathway is active
            layers.append(SpikingLayer(spec, len(seen), gain, config, backend))
            width = neurons
        self.layers = cast(Sequence[SpikingLayer], nn.ModuleList(layers))
        for layer in layers if by_hand else ():
            layer.set_modulator_by_hand()
        if config.fresh_weights != "none":
            for weight in (x for layer in layers for x in layer.fixed_weights()):
                weight.requires_grad_(False)
                if config.fresh_weights == "zero":
                    weight.zero_()
        self._specs = frozenset(layer.spec for layer in layers)  # it keeps its hash
        self._modulated = any(
            x.modulation != "none" or x.has_target for x in self._specs
        )
        self.readout_decay = nn.Parameter(
            torch.full((width,), logit(config.readout_decay))
        )
        self.output_size = width * (2 if config.readout == "spikes+potentials" else 1)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(FLAGS, (1,))
        for index, layer in enumerate(layers):
            shapes |= {
                f"layer{index}.{k}": v for k, v in layer.spec.state_shapes.items()
            }
            if layer.spec.modulation != "none":
                shapes[f"layer{index}.modulation"] = (config.ticks, layer.spec.neurons)
        shapes["readout"] = (width,)
        matrices = (".fast_weights", ".eligibility")
        self.layout = StateLayout(
            shapes, frozenset(k for k in shapes if k.endswith(matrices))
        )
        self.hidden_size = self.layout.size
        self._fields = [  # of each layer, with and without its prefix
            [(k, k.partition(".")[2]) for k in shapes if k.startswith(f"layer{index}.")]
            for index in range(len(layers))
        ]

    def run(
        self,
        observations: Tensor,
        starts: Tensor,
        state: dict[str, Tensor],
        state_wanted: bool = True,
    ) -> tuple[Tensor, list[LayerOutput], dict[str, Tensor]]:
        """Runs a sequence of environment steps, `ticks` ticks each with the observation constant.

        Args:
            observations: [T, B, channels or more], of which the network sees the leading ones.
            starts: [T, B], 1 where an episode starts.
            state: fields of `layout`, each [B, ...]. The flags, [B, 1], are 0 in training. Where
                `plasticity_off` is 1, fast weights keep the value that they have (zero after a
                start). Where `modulator_held` is 1, neuromodulators keep the values that they have
                in the fields `layerN.modulation` [B, ticks, neurons], across starts too; else
                these fields are what the neuromodulators were at the latest step.
            state_wanted: False: the new state may be left out, in part or in whole.

        Returns:
            Features for the action head [T, B, output_size], each layer's output
            [T * ticks, B, neurons], and the new state.
        """
        ticks, observations = self.config.ticks, self._seen(observations)
        observations = at_ticks(observations, ticks, self.config.phases)
        if ticks > 1:
            first_tick = torch.zeros_like(starts).repeat(ticks, 1)
            first_tick[::ticks] = starts
            starts = first_tick
        exogenous = observations
        if self._modulated:
            exogenous = observations.index_select(2, self.exogenous)
        plasticity = 1.0 - state["plasticity_off"]
        new_state = {flag: state[flag] for flag in FLAGS}
        held = state["modulator_held"] if bool(state["modulator_held"].any()) else None
        signal, outputs = self.encoder(observations), []
        for index, layer in enumerate(self.layers):
            own = {
                short: state[name]
                for name, short in self._fields[index]
                if name in state
            }
            output, layer_state = layer(
                signal, starts, exogenous, plasticity, own, held, state_wanted
            )
            new_state |= {f"layer{index}.{k}": v for k, v in layer_state.items()}
            outputs.append(output)
            signal = output.spikes
        backend, decay = (
            choose(self.backend, STATIC, signal.device.type),
            self.readout_decay,
        )
        filtered = backend.leaky_sequence(
            signal, starts, torch.sigmoid(decay), state["readout"]
        )
        new_state["readout"] = filtered[-1]
        features = filtered if ticks == 1 else filtered[ticks - 1 :: ticks]
        if self.config.readout == "spikes+potentials":
            potentials = outputs[-1].potentials
            if ticks > 1:
                potentials = potentials[ticks - 1 :: ticks]
            features = torch.cat([features, potentials], dim=2)
        return features, outputs, new_state

    def _seen(self, observations: Tensor) -> Tensor:
        """What a critic is told comes last, and is not for the network."""
        if observations.shape[-1] == self.input_size:
            return observations
        return observations[..., : self.input_size].contiguous()

    @contextmanager
    def observed(self, observer: Callable[[list[LayerOutput]], None]) -> Iterator[None]:
        """Every call inside hands each layer's output, [T * ticks, B, neurons], to an observer,
        which has to copy what it keeps: the next step may overwrite it.
        """
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    def forward(
        self, observations: Tensor, states: tuple[Tensor, Tensor], starts: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`run` on flat states: ([T, B, channels], ([1, B, D], any), [T, B]) to the features
        [T, B, output_size] and the new pair of states, whose second part is [1, B, 1].
        """
        flat, second = states
        if self.config.fresh_weights == "random":
            return self._each_its_own(observations, states, starts)
        step = choose_step(self.backend, self._specs, flat.device.type)
        if step is not None and len(observations) == 1 and not torch.is_grad_enabled():
            features, flat, outputs = step(self, self._seen(observations), starts, flat)
        else:
            features, outputs, state = self.run(
                observations, starts, self.layout.unpack(flat[0])
            )
            flat = self.layout.pack(state).unsqueeze(0)
        if self._observer is not None:
            self._observer(outputs)
        if second.shape[2] != 1:
            second = flat.narrow(2, 0, 1)
        return features, (flat, second)  # as it came, since a view takes a microsecond

    def _each_its_own(
        self, observations: Tensor, states: tuple[Tensor, Tensor], starts: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A step in which every row has weights of its own. The second part of the state is their
        seed, drawn from PyTorch's generator when an episode starts: a whole number that float32
        holds.
        """
        if torch.is_grad_enabled() or len(observations) != 1:
            raise ValueError(
                "fresh_weights random takes single steps, without gradients"
            )
        drawn, known = states[1], _drawn.setdefault(self, {})
        seeds, begun = (
            drawn.flatten().tolist(),
            starts.flatten().tolist(),
        )  # lists are faster here
        if any(begun) or not all(seeds):
            new = torch.randint(1, 2**24, (len(seeds),)).tolist()
            seeds = [
                x if start or not seed else seed
                for x, start, seed in zip(new, begun, seeds)
            ]
            drawn = states[0].new_tensor(seeds)[None, :, None]
            if len(known) > MOST_DRAWN:
                known.clear()
        features, flat, outputs = [], [], list[Any]()
        parts = (x.split(1, dim=1) for x in (observations, states[0], starts))
        for seed, row, before, start in zip(map(int, seeds), *parts):
            own = known.get(seed)
            if own is None:
                own = known[seed] = self._with_weights(seed)
            own._observer = None if self._observer is None else outputs.append
            output, after = own.forward(row, (before, before), start)
            features.append(output)
            flat.append(after[0])
        if self._observer is not None:
            joined = [
                [None if x[0] is None else torch.cat(x, dim=1) for x in zip(*layer)]
                for layer in zip(*outputs)
            ]
            self._observer([LayerOutput(*parts) for parts in joined])  # type: ignore[arg-type]
        return torch.cat(features, dim=1), (torch.cat(flat, dim=1), drawn)

    def _with_weights(self, seed: int) -> "SpikingNetwork":
        """A copy with the weights of a seed, which has all other parameters in common."""
        fixed = {id(x) for layer in self.layers for x in layer.fixed_weights()}
        shared: dict[int, Any] = {
            id(x): x for x in self.parameters() if id(x) not in fixed
        }
        if self._observer is not None:  # which is not to be copied
            shared[id(self._observer)] = self._observer
        own = deepcopy(self, shared)
        own.keep_weights()
        own.redraw(seed)
        return own

    def keep_weights(self) -> None:
        """From now on all episodes have the weights that are there, and none are drawn."""
        self.config = replace(self.config, fresh_weights="none")

    def redraw(self, seed: int) -> None:
        """Draws the fixed weights of all layers anew."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.redraw(generator)


# not in the network: a copy of it is to have copies of its own
_drawn: WeakKeyDictionary[SpikingNetwork, dict[int, SpikingNetwork]] = (
    WeakKeyDictionary()
)
