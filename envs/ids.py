"""The ids of this project's environments, and what each is registered with.

It imports nothing but Gymnasium, so that ids are known before MuJoCo is imported.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium

ENVS = "spikepropamine.envs"
ROBOT_STEPS = 1000  # of an episode of Gymnasium's robots


@dataclass(frozen=True)
class Robot:
    """What the tasks for robots have to know of one.

    Attributes:
        step_seconds: simulated time of an environment step.
        fastest: the largest target velocity in m/s: one that a trained robot reaches.
    """

    step_seconds: float
    fastest: float


ROBOTS = {
    "HalfCheetah": Robot(step_seconds=0.05, fastest=3.0),
    "Ant": Robot(step_seconds=0.05, fastest=3.0),
    "Hopper": Robot(step_seconds=0.008, fastest=2.0),
    "Walker2d": Robot(step_seconds=0.008, fastest=3.0),
    "Swimmer": Robot(step_seconds=0.04, fastest=0.3),
    "Humanoid": Robot(step_seconds=0.015, fastest=2.0),
}
FEEDBACKS = {"dense": "", "sparse": "Sparse", "opening": "Opening"}
"""When a hidden latent gets feedback, and what the id has for that."""
CUE_SECONDS = {"cue_length": 4.5, "feedback_length": 0.5}
LESSON_SECONDS = {"cue_length": 1.25, "settle_length": 0.5}


def register_all() -> None:
    """Registers all environments with Gymnasium; once is enough."""
    _register_drawn_tasks()
    for name, robot in ROBOTS.items():
        _register_robot(name, robot)
    _register_without_velocities()


def _register_drawn_tasks() -> None:
    # No max_episode_steps: these tasks have a last step of their own and end with
    # terminated=True. A time limit would say truncated, and the learner would bootstrap
    # a value that does not exist. The same holds for the cue tasks of robots.
    drawn_tasks = {
        "CueAssociation": "cue_association",
        "EvidenceAccumulation": "evidence_accumulation",
        "KeyValue": "key_value",
        "MotorMap": "motor_map",
    }
    for name, module in drawn_tasks.items():
        gymnasium.register(f"{name}-v0", entry_point=f"{ENVS}.{module}:{name}")


def _register_robot(name: str, robot: Robot) -> None:
    entry_point = f"{ENVS}.robots:{name}"
    targets: dict[str, dict[str, Any]] = {
        "Direction": {},
        "Velocity": {"fastest": robot.fastest},
    }
    for task, arguments in targets.items():
        for feedback, suffix in FEEDBACKS.items():
            gymnasium.register(
                f"{name}{task}{suffix}-v0",
                entry_point=entry_point + task,
                kwargs={"feedback": feedback, **arguments},
                max_episode_steps=ROBOT_STEPS,
            )
    gymnasium.register(
        f"{name}Cue-v0",
        entry_point=f"{entry_point}Cue",
        kwargs=_steps(CUE_SECONDS, robot),
    )
    lesson = {"feedback_length": 0, "trials": 12, "lesson": True, "reversal": "random"}
    gymnasium.register(  # each cue is told once and then asked for
        f"{name}CueLesson-v0",
        entry_point=f"{entry_point}Cue",
        kwargs=_steps(LESSON_SECONDS, robot) | lesson,
    )


def _steps(seconds: dict[str, float], robot: Robot) -> dict[str, Any]:
    """Durations in steps of a robot."""
    return {name: round(time / robot.step_seconds) for name, time in seconds.items()}


def _register_without_velocities() -> None:
    for module, name, limit in (
        ("no_velocity", "CartPoleNoVelocity", 500),
        ("no_velocity", "PendulumNoVelocity", 200),
        ("robots", "HalfCheetahNoVelocity", ROBOT_STEPS),
    ):
        gymnasium.register(
            f"{name}-v0",
            entry_point=f"{ENVS}.{module}:{name}",
            max_episode_steps=limit,
        )
