"""The groups of a policy's parameters, by their names."""

from typing import Literal

Group = Literal[
    "encoder",
    "weights",
    "plasticity",
    "neuromodulator",
    "readout",
    "exploration",
    "critic",
]

PLASTICITY = (
    "plasticity_gain",
    "pre_decay",
    "post_decay",
    "threshold_decay",
    "eta",
    "coefficients",
    "synaptic",
    "pre_mean_share",
    "post_mean_share",
    "target_exogenous",
    "target_bias",
)
"""Parameters of a spiking layer that only its plastic synapses use."""


def parameter_group(name: str) -> Group:
    """The group of a policy's parameter, by its name in the policy.

    Weights are all parameters of the actor that are in no other group.
    """
    # of off-policy learning
    name = name.removeprefix("actor.").removeprefix("actor_target.")
    first = name.split(".")[0]
    last = name.split(".")[-1]
    if first in ("vf_features_extractor", "log_ent_coef"):
        return "critic"
    if "critic" in first or "value_net" in name:
        return "critic"
    if last.startswith("modulator"):
        return "neuromodulator"
    if name.startswith("lstm_actor.layers.") and last in PLASTICITY:
        return "plasticity"
    if first in ("log_std", "log_std_net"):
        # how far sampled actions lie from the likeliest one
        return "exploration"
    if first == "action_net" or last == "readout_decay":
        return "readout"
    if "features_extractor" in first or name.startswith("lstm_actor.encoder."):
        return "encoder"
    return "weights"
