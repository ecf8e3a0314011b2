"""The spiking network of an actor: an encoder, layers and a leaky readout."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from spikepropamine.policies.backends import STATIC, choose, choose_step
from spikepropamine.policies.config import NetworkConfig, completed_network
from spikepropamine.policies.drawn_weights import Observer, step_with_drawn_weights
from spikepropamine.policies.encoder import Encoder, at_ticks, pathways, with_delay
from spikepropamine.policies.layers import SpikingLayer, logit
from spikepropamine.policies.reference import LayerOutput, LayerSpec, Modulation
from spikepropamine.policies.state import FLAGS, StateLayout

__all__ = [
    "FLAGS",
    "NetworkConfig",
    "SpikingNetwork",
    "StateLayout",
    "completed_network",
]

Pair = tuple[Tensor, Tensor]


class SpikingNetwork(nn.Module):
    """Spiking layers and leaky readout, over sequences of environment steps.

    It has the surface that sb3-contrib reads off an `nn.LSTM` (`input_size`,
    `num_layers`, `hidden_size`, and a call with a pair of states), so that its rollout
    and update code runs unchanged: the first of the pair is the whole state as one flat
    vector [1, B, D], described by `layout`; the second is a placeholder [1, B, 1], or
    where weights are drawn for an episode, their seeds.

    Args:
        channels: width of the (flattened) observation.
        config: the network's settings.
        exogenous: indices of the channels that the neuromodulators see.
        backend: what runs the layers, a key of `policies.backends.BACKENDS`; "auto" is
            the fastest that can.
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
        self.config = config
        self.backend = backend
        self.observer: Observer | None = None
        self.input_size = channels
        width = 2 * channels if config.delay else channels
        active = width  # of what is shown at a tick, all but silent pathways
        seen = list(exogenous)
        if config.phases:
            active = width + 1
            seen = pathways(exogenous, width, config.ticks)
        self.register_buffer("exogenous", torch.tensor(seen, dtype=torch.long), False)
        self.shown_size = active * config.pathways
        self.encoder = Encoder(self.shown_size, config.encoder, active)
        layers = self._made_layers(len(seen))
        self.layers = cast(Sequence[SpikingLayer], nn.ModuleList(layers))
        self.specs = frozenset(layer.spec for layer in layers)  # it keeps its hash
        self._modulated = any(
            spec.modulation != "none" or spec.has_target for spec in self.specs
        )
        width = layers[-1].spec.neurons
        self.readout_decay = nn.Parameter(
            torch.full((width,), logit(config.readout_decay))
        )
        has_potentials = config.readout == "spikes+potentials"
        self.output_size = 2 * width if has_potentials else width
        self.layout = self._made_layout()
        self.hidden_size = self.layout.size
        # the state's fields of each layer: their names in the layout and in the layer
        self._fields: list[list[tuple[str, str]]] = []
        for index in range(len(layers)):
            prefix = f"layer{index}."
            names = [name for name in self.layout.shapes if name.startswith(prefix)]
            self._fields.append([(name, name.removeprefix(prefix)) for name in names])

    def _made_layers(self, exogenous: int) -> list[SpikingLayer]:
        """The layers, whose neuromodulators see so many channels."""
        config = self.config
        modulation: Modulation = "direct"
        if config.modulation != "feedback":
            modulation = config.modulation
        layers: list[SpikingLayer] = []
        width = self.encoder.output_size
        for index, neurons in enumerate(config.hidden):
            plastic = config.plastic[index]
            spec = LayerSpec(
                inputs=width,
                neurons=neurons,
                rule=config.rule if plastic else "none",
                modulation=modulation if plastic else "none",
                recurrent=config.recurrent[index],
                units=config.units,
                surrogate=config.surrogate,
                slope=config.slope,
                soft_reset=config.soft_reset,
                clip=config.clip,
                decay=config.decay,
            )
            gain = config.gain if index > 0 else config.input_gain
            if index == 0 and not config.encoder:
                # of the inputs one pathway is active
                gain *= math.sqrt(config.pathways)
            layers.append(SpikingLayer(spec, exogenous, gain, config, self.backend))
            width = neurons
        for layer in layers:
            if config.modulation == "feedback":
                layer.set_modulator_by_hand()
            if config.fresh_weights != "none":
                for weight in layer.fixed_weights():
                    weight.requires_grad_(False)
                    if config.fresh_weights == "zero":
                        weight.zero_()
        return layers

    def _made_layout(self) -> StateLayout:
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(FLAGS, (1,))
        for index, layer in enumerate(self.layers):
            for name, shape in layer.spec.state_shapes.items():
                shapes[f"layer{index}.{name}"] = shape
            if layer.spec.modulation != "none":
                shape = (self.config.ticks, layer.spec.neurons)
                shapes[f"layer{index}.modulation"] = shape
        shapes["readout"] = (self.layers[-1].spec.neurons,)
        if self.config.delay:
            shapes["observation"] = (self.input_size,)
        matrices = (".fast_weights", ".eligibility")
        by_column = frozenset(name for name in shapes if name.endswith(matrices))
        return StateLayout(shapes, by_column)

    def run(
        self,
        observations: Tensor,
        starts: Tensor,
        state: dict[str, Tensor],
        state_wanted: bool = True,
    ) -> tuple[Tensor, list[LayerOutput], dict[str, Tensor]]:
        """Runs a sequence of environment steps, `ticks` ticks each.

        Args:
            observations: [T, B, channels or more], of which the network sees the
                leading ones, constant over the ticks of a step.
            starts: [T, B], 1 where an episode starts.
            state: fields of `layout`, each [B, ...]. The flags, [B, 1], are 0 in
                training. Where `plasticity_off` is 1, fast weights keep the value that
                they have (zero after a start). Where `modulator_held` is 1,
                neuromodulators keep the values that they have in the fields
                `layerN.modulation` [B, ticks, neurons], across starts too; else these
                fields are what the neuromodulators were at the latest step.
            state_wanted: False: the new state may be left out, in part or in whole.

        Returns:
            Features for the action head [T, B, output_size], each layer's output
            [T * ticks, B, neurons], and the new state.
        """
        if observations.shape[-1] > self.input_size:
            observations = observations[..., : self.input_size].contiguous()
        ticks = self.config.ticks
        shown = self.shown(observations, starts, state)
        if ticks > 1:
            first_tick = torch.zeros_like(starts).repeat(ticks, 1)
            first_tick[::ticks] = starts
            starts = first_tick
        exogenous = shown.index_select(2, self.exogenous) if self._modulated else shown
        plasticity = 1.0 - state["plasticity_off"]
        held = None
        # a graph is made for acting, in which nothing is held
        if not torch.compiler.is_exporting() and bool(state["modulator_held"].any()):
            held = state["modulator_held"]
        new_state = {flag: state[flag] for flag in FLAGS}
        outputs: list[LayerOutput] = []
        signal = self.encoder(shown)
        for layer, fields in zip(self.layers, self._fields):
            of_layer = {short: state[name] for name, short in fields if name in state}
            output, new_of_layer = layer(
                signal, starts, exogenous, plasticity, of_layer, held, state_wanted
            )
            for name, short in fields:
                if short in new_of_layer:
                    new_state[name] = new_of_layer[short]
            outputs.append(output)
            signal = output.spikes
        backend = choose(self.backend, STATIC, signal.device.type)
        filtered = backend.leaky_sequence(
            signal, starts, torch.sigmoid(self.readout_decay), state["readout"]
        )
        new_state["readout"] = filtered[-1]
        if self.config.delay:
            new_state["observation"] = observations[-1].detach()
        return self._features(filtered, outputs[-1].potentials), outputs, new_state

    def shown(
        self, observations: Tensor, starts: Tensor, state: Mapping[str, Tensor]
    ) -> Tensor:
        """What the encoder, or the first layer, sees at each tick.

        Args:
            observations: [T, B, channels].
            starts: [T, B], 1 where an episode starts.
            state: fields of `layout`, each [B, ...].

        Returns:
            [T * ticks, B, shown_size].
        """
        if self.config.delay:
            observations = with_delay(observations, starts, state["observation"])
        return at_ticks(observations, self.config.ticks, self.config.phases)

    def _features(self, filtered: Tensor, potentials: Tensor) -> Tensor:
        """What the action head sees of the last tick of every step, [T, B,
        output_size].
        """
        ticks = self.config.ticks
        last = filtered if ticks == 1 else filtered[ticks - 1 :: ticks]
        if self.config.readout == "spikes":
            return last
        if ticks > 1:
            potentials = potentials[ticks - 1 :: ticks]
        return torch.cat([last, potentials], dim=2)

    @contextmanager
    def observed(self, observer: Callable[[list[LayerOutput]], None]) -> Iterator[None]:
        """Every call inside hands each layer's output, [T * ticks, B, neurons], to an
        observer, which has to copy what it keeps: the next step may overwrite it.
        """
        self.observer = observer
        try:
            yield
        finally:
            self.observer = None

    def forward(
        self, observations: Tensor, states: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        """`run` on flat states.

        Args:
            observations: [T, B, channels or more].
            states: the flat state [1, B, D], and a tensor of which only the shape
                counts, or seeds of drawn weights [1, B, 1].
            starts: [T, B], 1 where an episode starts.

        Returns:
            Features [T, B, output_size], and the new pair of states, whose second part
            is [1, B, 1].
        """
        if self.config.fresh_weights == "random":
            return step_with_drawn_weights(self, observations, states, starts)
        # those that the critic alone sees come last
        if observations.shape[-1] > self.input_size:
            observations = observations[..., : self.input_size].contiguous()
        flat, second = states
        step = choose_step(self.backend, self.specs, flat.device.type)
        if step is not None and len(observations) == 1 and not torch.is_grad_enabled():
            features, flat, outputs = step(self, observations, starts, flat)
        else:
            features, outputs, state = self.run(
                observations, starts, self.layout.unpack(flat[0])
            )
            flat = self.layout.pack(state).unsqueeze(0)
        if self.observer is not None:
            self.observer(outputs)
        if second.shape[2] != 1:
            second = flat.narrow(2, 0, 1)
        return features, (flat, second)  # as it came: a view takes a microsecond

    def keep_weights(self) -> None:
        """From now on all episodes have the present weights, and none are drawn."""
        self.config = replace(self.config, fresh_weights="none")

    def redraw(self, seed: int) -> None:
        """Draws the fixed weights of all layers anew."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.redraw(generator)
