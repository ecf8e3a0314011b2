"""The project's workspace in Weights & Biases: sections and panels as data, saved or as JSON. There
is one in a project: saved again, it is changed and no other is made.
"""

import os
from typing import Any

from spikepropamine.common import reason
from spikepropamine.tracking import PROJECT

NAME = "Plastic spiking agents"
VIEW = "plasticagents"
"""Of the workspace, in its address."""

STEP = "global_step"

SECTIONS: dict[str, list[tuple[str, str, str]]] = {
    "learning": [
        ("Return of training episodes", STEP, "rollout/ep_rew_mean"),
        ("Length of training episodes", STEP, "rollout/ep_len_mean"),
        ("Late accuracy in training", STEP, "rollout/late_accuracy"),
        ("Success rate in training", STEP, "rollout/success_rate"),
        ("Gradient norms before clipping", STEP, "learning/gradient_norm/.*"),
        ("Losses", STEP, "train/(.*_loss|loss|cross_entropy)"),
        ("Size of the policy's updates", STEP, "train/(approx_kl|clip_fraction|clip_range)"),
        ("Change of the actor in an update", STEP, "learning/policy_change"),
        ("Share of actions that states explain", STEP, "learning/steered"),
        ("Explained variance of returns", STEP, "train/explained_variance"),
        ("Exploration", STEP, "train/std"),
        ("Learning rate", STEP, "train/learning_rate"),
    ],
    "spikes": [
        ("Spikes per neuron and tick", STEP, "spikes/firing_rate/.*"),
        ("Share of silent neurons", STEP, "spikes/silent/.*"),
        ("Share of saturated neurons", STEP, "spikes/saturated/.*"),
    ],
    "plasticity": [
        ("Fast weights: root mean square", STEP, "plasticity/fast_weight_norm/.*"),
        ("Fast weights: share at the bound", STEP, "plasticity/clipped/.*"),
        ("Neuromodulator: mean", STEP, "plasticity/modulator_mean/.*"),
        ("Neuromodulator: spread", STEP, "plasticity/modulator_spread/.*"),
        ("Learned decays and eta", STEP, "plasticity/(eta|.*_decay)/.*"),
        ("Plasticity gains alpha", STEP, "plasticity/alpha_(mean|std)/.*"),
    ],
    "adaptation": [
        ("Accuracy by trial, in training", STEP, "adaptation/accuracy/.*"),
        ("Drift of the weights in an episode", STEP, "adaptation/drift/.*"),
        ("Accuracy by trial, evaluated", "trial", "adaptation/accuracy_by_trial/.*"),
        ("Retention by severity", "severity", "adaptation/retention/.*"),
        ("Reward per step", "episode_step", "adaptation/reward_rate/.*"),
        ("Fast weights in an episode", "episode_step", "adaptation/fast_weight_norm/.*"),
        ("Neuromodulator in an episode", "episode_step", "adaptation/modulator_(mean|spread)/.*"),
        ("Firing rate in an episode", "episode_step", "adaptation/firing_rate/.*"),
    ],
    "system": [
        ("Environment steps per second", STEP, "system/steps_per_second"),
        ("Steps per second since the start", STEP, "time/fps"),
        ("Seconds of training", STEP, "time/time_elapsed"),
        ("Counters", STEP, "(time/(iterations|total_timesteps)|train/n_updates)"),
    ],
}
"""Sections from top to bottom; of each panel the title, the axis, and what it shows: the names of
metrics, as a regular expression."""

TABLES = {"adaptation": ["adaptation/results", "adaptation/lesions"]}
"""Tables of evaluations, by section."""

VIDEOS = {"adaptation": ["adaptation/videos"]}
"""Videos of evaluations and trainings, by section."""


def panels_of(section: str) -> list[Any]:
    """The plots of a section, then its tables and videos."""
    import wandb_workspaces.reports.v2 as reports

    panels: list[Any] = [
        reports.LinePlot(title=title, x=axis, metric_regex=f"^{metrics}$")
        for title, axis, metrics in SECTIONS[section]
    ]
    panels += [reports.WeavePanelSummaryTable(table_name=key) for key in TABLES.get(section, [])]
    panels += [
        reports.MediaBrowser(title="Videos", media_keys=[key]) for key in VIDEOS.get(section, [])
    ]
    return panels


def workspace(entity: str, project: str) -> Any:
    """The `wandb_workspaces.workspaces.Workspace`, not yet saved; needs no network."""
    import wandb_workspaces.workspaces as workspaces

    sections = [
        workspaces.Section(name=name, panels=panels_of(name), is_open=name != "system")
        for name in SECTIONS
    ]
    return workspaces.Workspace(entity=entity, project=project, name=NAME, sections=sections)


def as_json(made: Any) -> str:
    """What would be sent to the server."""
    return made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2)


def save_workspace(made: Any) -> None:
    """Saves a workspace as the one view of its project that has our name."""
    from wandb_workspaces.workspaces import internal

    made._internal_name = internal._url_query_str_to_internal_name(VIEW)
    try:
        made._internal_id = internal.get_view_dict(made.entity, made.project, VIEW)["id"]
    except ValueError as error:
        if "Workspace" not in str(error):  # it is the project that is not there
            raise
    made.save()


def save_or_print() -> tuple[str, str]:
    """Saves the workspace of the project, where there is an account.

    Returns:
        What belongs on standard output (its address; without an account or a network, the JSON),
        and a line of explanation.
    """
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    try:
        if wandb.login(prompt=False, verify=True):
            entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity or ""
            made = workspace(entity, project)
            save_workspace(made)
            return made.url, f"the workspace of the project {entity}/{project}"
        why = "there is no account: run `wandb login` or set WANDB_API_KEY"
    except (wandb.Error, OSError, ValueError) as error:
        why = reason(error)
    spec = as_json(workspace(os.environ.get("WANDB_ENTITY", "entity"), project))
    return spec, f"printed, not saved, since {why}"
