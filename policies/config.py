"""The settings of a spiking network: what each may be, and what it must not be with
others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from spikepropamine.common import unknown
from spikepropamine.policies.reference import SURROGATES
from spikepropamine.policies.rules import RULES

LARGEST = 1000  # of gains, bounds and slopes; larger ones overflow sooner or later
MOST_LAYERS = 100
WIDEST = 10_000
"""Neurons of a layer."""


class Range(NamedTuple):
    """What some numbers must be: a test, and the same in words."""

    names: tuple[str, ...]
    holds: Callable[[Any], bool]
    words: str


RANGES = (
    Range(
        ("ticks",),
        lambda x: x % 1 == 0 and 1 <= x <= 1000,
        "a whole number from 1 to 1000",
    ),
    Range(
        ("slope", "clip", "gain", "input_gain"),
        lambda x: 0 < x <= LARGEST,
        f"above 0 and at most {LARGEST}",
    ),
    Range(
        ("plasticity_gain", "modulator_gain"),
        lambda x: 0 <= x <= LARGEST,
        f"from 0 to {LARGEST}",
    ),
    Range(
        ("membrane_decay", "trace_decay", "threshold_decay", "readout_decay", "eta"),
        lambda x: 0 < x < 1,
        "between 0 and 1",
    ),
)

BEFORE_THERE_WAS_A_CHOICE: Mapping[str, Any] = {
    "decay": "plain",
    "fresh_weights": "none",
    "phases": False,
    "encoder": (),
    "delay": False,
}
"""Settings that older versions did not have, and what their networks did."""


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of a spiking actor network.

    Raises:
        ValueError: a value out of range, an unknown name, or settings that do not fit
            each other; the message says what would be right.
    """

    rule: str = "oja"
    """Rule of synaptic plasticity, one that is registered; none is the static network
    (F = 0)."""
    modulation: Literal["none", "direct", "retroactive", "feedback"] = "none"
    """none: the rule by itself; direct: a neuromodulator scales the rule; retroactive:
    it scales an eligibility trace of the rule (Backpropamine); feedback: direct and set
    by hand, the tanh of the sum of the exogenous channels, which have to be named."""
    units: Literal["spiking", "tanh"] = "spiking"
    """spiking: leaky integrate-and-fire neurons; tanh: leaky units without spikes, for
    comparison (they run on the readable implementation, which is slower)."""
    hidden: tuple[int, ...] = (64, 64)
    """Neurons of each layer. Of one layer, the last entries of plastic and recurrent
    hold."""
    plastic: tuple[bool, ...] = (False, True)
    """Which layers are plastic, one entry a layer."""
    recurrent: tuple[bool, ...] = (False, False)
    """Which layers are recurrent, one entry a layer."""
    ticks: int = 1
    """Ticks of network time per environment step."""
    phases: bool = False
    """Each tick of a step has input weights of its own, of the encoder or else the
    first layer, and of neuromodulators: so plastic synapses may store at one tick and
    recall at another."""
    delay: bool = False
    """The first layer, or the encoder, also sees the observation of the step before:
    what a command did is to be read off two observations. At the start of an episode it
    sees zeros there."""
    encoder: tuple[int, ...] = ()
    """Widths of layers of tanh units, without state, between the observation and the
    first layer; none: the first layer sees the observation itself."""
    readout: Literal["spikes", "spikes+potentials"] = "spikes"
    """What the actor's output layer sees: filtered spikes, or membrane potentials as
    well."""
    surrogate: str = "fast_sigmoid"
    """Surrogate gradient: fast_sigmoid, arctan, triangle or rectangle."""
    slope: float = 5.0
    """Slope of the surrogate gradient, in 1 / potential."""
    soft_reset: bool = False
    """A spike subtracts the threshold from the potential, instead of zeroing it."""
    clip: float = 1.0
    """Bound of the fast weights."""
    decay: Literal["contracting", "plain"] = "contracting"
    """contracting: a rule's decay shrinks fast weights whatever the sign of the
    neuromodulator; plain: a negative neuromodulator turns decay into growth."""
    gain: float = 1.0
    """Spread of the initial weights of spiking inputs, times sqrt(fan-in)."""
    input_gain: float = 2.0
    """The same for the weights of the first layer."""
    plasticity_gain: float = 0.3
    """Spread of the initial plasticity gains alpha, times sqrt(fan-in)."""
    modulator_gain: float = 1.0
    """Spread of the initial weights of the neuromodulators, times sqrt(fan-in). With
    large ones fast weights forget within tens of ticks."""
    membrane_decay: float = 0.8
    """Initial decay beta of the membrane potential per tick (learned per neuron)."""
    trace_decay: float = 0.6
    """Initial decay of the pre- and postsynaptic traces per tick (learned per
    layer)."""
    threshold_decay: float = 0.9
    """Initial decay of the sliding threshold per tick, where a rule has one (learned
    per layer)."""
    readout_decay: float = 0.5
    """Initial decay of the leaky readout per tick (learned per neuron)."""
    eta: float = 0.18
    """Initial rate of plasticity, and initial level of the neuromodulator (learned)."""
    fresh_weights: Literal["none", "random", "zero"] = "none"
    """What the fixed weights of the layers are when an episode begins, if they are not
    trained: random: drawn anew, with the spreads of gain and input_gain (trainer.kind
    evolution only); zero; none: they are trained. What is exported has the draw of one
    episode."""
    exogenous: tuple[int | str, ...] | None = None
    """Observation channels that the neuromodulators see: indices, or keys of a Dict
    observation; left out: all of them."""

    def __post_init__(self) -> None:
        self._make_tuples()
        self._check_choices()
        self._check_widths("hidden", least=1)
        self._check_widths("encoder", least=0)
        self._check_one_entry_a_layer("plastic")
        self._check_one_entry_a_layer("recurrent")
        if self.phases and self.plastic[0] and not self.encoder:
            raise ValueError(
                "with phases the first layer has inputs of its own at each tick, and "
                "can recall at none what it stored at another: give an encoder, or "
                "make a later layer plastic"
            )
        self._check_ranges()
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

    def _make_tuples(self) -> None:
        """JSON and YAML have lists only, and an entry may stand alone."""
        for name in ("hidden", "plastic", "recurrent", "encoder", "exogenous"):
            value = getattr(self, name)
            if name == "exogenous" and value is None:
                continue
            if not isinstance(value, Iterable) or isinstance(value, str):
                value = (value,)
            object.__setattr__(self, name, tuple(value))

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            name: get_args(hint)
            for name, hint in get_type_hints(type(self)).items()
            if get_origin(hint) is Literal
        }
        choices["rule"] = ("none", *RULES)
        choices["surrogate"] = tuple(SURROGATES)
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise ValueError(unknown(name, getattr(self, name), valid))

    def _check_widths(self, name: str, least: int) -> None:
        """Of `least` layers or more."""
        widths: tuple[Any, ...] = getattr(self, name)
        are_widths = all(
            isinstance(x, Integral) and 1 <= int(x) <= WIDEST for x in widths
        )
        if not are_widths or not least <= len(widths) <= MOST_LAYERS:
            raise ValueError(
                f"{name} must name the widths of {least} to {MOST_LAYERS} layers, "
                f"each from 1 to {WIDEST}, got {widths}"
            )

    def _check_one_entry_a_layer(self, name: str) -> None:
        layers = len(self.hidden)
        entries = getattr(self, name)
        if layers == 1 and entries:
            # where only a width was given, the one layer is what any layer would be
            entries = (any(entries),)
            object.__setattr__(self, name, entries)
        if len(entries) != layers:
            raise ValueError(
                f"{name} must have one entry for each of the {layers} hidden layers, "
                f"got {entries}"
            )

    def _check_ranges(self) -> None:
        for allowed in RANGES:
            for name in allowed.names:
                value: Any = getattr(self, name)
                if not isinstance(value, Real) or not allowed.holds(value):
                    raise ValueError(f"{name} must be {allowed.words}, got {value}")

    @property
    def pathways(self) -> int:
        """Blocks of channels that the first layer and neuromodulators see, one at a
        tick.
        """
        return self.ticks if self.phases else 1

    @classmethod
    def of(cls, value: "NetworkConfig | Mapping[str, Any] | None") -> "NetworkConfig":
        """A config out of a config, a mapping of its fields, or None (the defaults).

        Raises:
            ValueError: an unknown field, with the nearest one, or what the class
                raises.
        """
        if isinstance(value, NetworkConfig):
            return value
        settings = value or {}
        for name in settings:
            if name not in cls.__dataclass_fields__:
                raise ValueError(
                    unknown("network setting", name, cls.__dataclass_fields__)
                )
        return cls(**settings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return asdict(self)


def completed_network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network that an older version saved, as this version has them.

    What that version did not know yet is as it was before there was a choice; what is
    no setting any more is left out.
    """
    known = {
        name: value
        for name, value in settings.items()
        if name in NetworkConfig.__dataclass_fields__
    }
    return {**BEFORE_THERE_WAS_A_CHOICE, **known}
