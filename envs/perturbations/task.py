"""Perturbations of what the task asks for."""

import math
from typing import Any

import numpy as np

from spikepropamine.envs.perturbations.family import Bound, Family

# Gymnasium's locomotion tasks and those of this project all name their weight so
WEIGHT = "_forward_reward_weight"


def _has_direction(task: Any) -> str | None:
    if hasattr(task, "target_velocity"):
        return "its reward asks for a velocity, whatever the direction"
    if not getattr(task, WEIGHT, 0):
        return "its reward has no part for moving forward"
    cues = hasattr(task, "trial_steps")
    return "its cues tell the direction; cue_reversal reverses them" if cues else None


def _has_cues(task: Any) -> str | None:
    # the attributes of an episode come with its first reset
    named = {"cues", "actions", "trial_steps"} <= vars(task).keys()
    return None if named else "it has no cues"


def _turn(task: Any, value: float, bound: Bound) -> None:
    weight = bound.kept.setdefault("weight", getattr(task, WEIGHT))
    setattr(task, WEIGHT, weight * value)
    if value == DIRECTION.nominal:
        bound.kept.clear()


def _remap(task: Any, value: float, bound: Bound) -> None:
    """From the present trial on; the cues changed at a higher value include those at a lower."""
    original = bound.kept.setdefault("targets", task.targets.copy())
    changed = np.where(
        task.order < math.ceil(value * task.cues), (original + 1) % task.actions, original
    )
    trial = bound.time // task.trial_steps
    if hasattr(task, "context_began") and (task.targets[trial:] != changed[trial:]).any():
        task.context_began = bound.time
    task.targets[trial:] = changed[trial:]
    if value == CUES.nominal:
        bound.kept.clear()


DIRECTION = Family(
    "direction", "task",
    "Weight of the reward for moving forward: at -1 the robot is paid for going back.",
    "x nominal", nominal=1, hardest=-1, reason_against=_has_direction, edit_task=_turn,
)  # fmt: skip
CUES = Family(
    "cue_reversal", "task", "Some cues ask for the next action instead of their own.",
    "fraction of the cues", nominal=0, hardest=1, reason_against=_has_cues, edit_task=_remap,
)  # fmt: skip

FAMILIES = (DIRECTION, CUES)
