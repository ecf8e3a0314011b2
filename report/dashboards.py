"""`spikepropamine dashboards` saves the project's workspace in Weights & Biases; with `--local
runs/` it writes a page over all runs of a folder, which needs no account.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikepropamine.common import Parser, UsageError, reason
from spikepropamine.report.runs import write_local
from spikepropamine.tracking import PROJECT, has_account

NAME = "Plastic spiking agents"
VIEW = "plasticagents"
"""Of the workspace, in its address."""

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "learning": [
        ("Return of training episodes", "rollout/ep_rew_mean"),
        ("Length of training episodes", "rollout/ep_len_mean"),
        ("Late accuracy in training", "rollout/late_accuracy"),
        ("Success rate in training", "rollout/success_rate"),
        ("Gradient norms before clipping", "learning/gradient_norm/.*"),
        ("Losses", "train/(.*_loss|loss|cross_entropy)"),
        ("Size of the policy's updates", "train/(approx_kl|clip_fraction|clip_range)"),
        ("Change of the actor in an update", "learning/policy_change"),
        ("Share of actions that states explain", "learning/steered"),
        ("Explained variance of returns", "train/explained_variance"),
        ("Exploration", "train/std"),
        ("Learning rate", "train/learning_rate"),
    ],
    "spikes": [
        ("Spikes per neuron and tick", "spikes/firing_rate/.*"),
        ("Share of silent neurons", "spikes/silent/.*"),
        ("Share of saturated neurons", "spikes/saturated/.*"),
    ],
    "plasticity": [
        ("Fast weights: root mean square", "plasticity/fast_weight_norm/.*"),
        ("Fast weights: share at the bound", "plasticity/clipped/.*"),
        ("Neuromodulator: mean", "plasticity/modulator_mean/.*"),
        ("Neuromodulator: spread", "plasticity/modulator_spread/.*"),
        ("Learned decays and eta", "plasticity/(eta|.*_decay)/.*"),
        ("Plasticity gains alpha", "plasticity/alpha_(mean|std)/.*"),
    ],
    "adaptation": [
        ("Accuracy by trial, in training", "adaptation/accuracy/.*"),
        ("Drift of the weights in an episode", "adaptation/drift/.*"),
    ],
    "system": [
        ("Environment steps per second", "system/steps_per_second"),
        ("Steps per second since the start", "time/fps"),
        ("Seconds of training", "time/time_elapsed"),
        ("Counters", "(time/(iterations|total_timesteps)|train/n_updates)"),
    ],
}
"""Sections from top to bottom; of each panel the title, and what it shows by environment steps: the
names of metrics, as a regular expression."""

TABLES = {"adaptation": ["adaptation/results", "adaptation/lesions"]}
"""Tables of evaluations, by section."""

MEDIA = {"adaptation": ["adaptation/report", "adaptation/videos"]}
"""Reports of evaluations, and videos of evaluations and trainings, by section."""


def panels_of(section: str) -> list[Any]:
    """The plots of a section, then its tables and videos."""
    import wandb_workspaces.reports.v2 as reports

    panels: list[Any] = [
        reports.LinePlot(title=title, x="global_step", metric_regex=f"^{metrics}$")
        for title, metrics in SECTIONS[section]
    ]
    panels += [reports.WeavePanelSummaryTable(table_name=key) for key in TABLES.get(section, [])]
    panels += [
        reports.MediaBrowser(title=key.partition("/")[2].capitalize(), media_keys=[key])
        for key in MEDIA.get(section, [])
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


def save() -> str:
    """Saves the workspace of the project; returns its address.

    Raises:
        UsageError: there is no account or no such project, or the server cannot be reached.
    """
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    try:
        if not has_account():
            raise UsageError("there is no account: run `wandb login` or set WANDB_API_KEY")
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity or ""
        made = workspace(entity, project)
        save_workspace(made)
    except (wandb.Error, OSError, ValueError) as error:
        raise UsageError(f"the workspace cannot be saved: {reason(error)}") from error
    return made.url


def main(arguments: Sequence[str], program: str = "spikepropamine dashboards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--local",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/index.html: learning curves, evaluations and videos of the runs in it",
    )
    options = parser.parse_args(arguments)
    print(save() if options.local is None else write_local(options.local))
    return 0
