"""Which part of a policy a parameter belongs to."""

from typing import Literal

Group = Literal["encoder", "weights", "plasticity", "neuromodulator", "readout", "critic"]

PLASTICITY = (
    "plasticity_gain", "pre_decay", "post_decay", "threshold_decay", "eta", "coefficients",
    "synaptic", "pre_mean_share", "post_mean_share", "target_exogenous", "target_bias",
)  # fmt: skip


def parameter_group(name: str) -> Group:
    """The group of a policy's parameter, by its name. Weights are all that the actor has besides
    the others.
    """
    name = name.removeprefix("actor.")  # of off-policy learning
    first, last = name.split(".")[0], name.split(".")[-1]
    alone = first in ("vf_features_extractor", "log_ent_coef")
    if "value_net" in name or "critic" in first or alone:
        return "critic"
    if last.startswith("modulator"):
        return "neuromodulator"
    if name.startswith("lstm_actor.layers.") and last in PLASTICITY:
        return "plasticity"
    if first in ("action_net", "log_std", "log_std_net") or last == "readout_decay":
        return "readout"
    if "features_extractor" in first:
        return "encoder"
    return "weights"
