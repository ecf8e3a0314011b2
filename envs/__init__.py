"""Environments: tasks in which the answer has to be learned, or remembered, inside an episode.

Importing this package registers its environments, so `gymnasium.make("CueAssociation-v0")` works
after `import spikepropamine`, and so does `gymnasium.make("spikepropamine:CueAssociation-v0")`
alone. It imports neither torch nor Stable-Baselines3, and MuJoCo only when `quiet_mujoco` is
called.
"""

import logging

import gymnasium

__all__ = ["quiet_mujoco"]

# No max_episode_steps: these tasks have a last step of their own and end with terminated=True.
# A time limit would say truncated, and the learner would bootstrap a value that does not exist.
for _name, _module in (
    ("CueAssociation", "cue_association"), ("EvidenceAccumulation", "evidence_accumulation"),
    ("KeyValue", "key_value"), ("MotorMap", "motor_map"),
    ("HalfCheetahCue", "half_cheetah"),
):  # fmt: skip
    gymnasium.register(
        f"{_name}-v0", entry_point=f"spikepropamine.envs.{_module}:{_name}"
    )
_lesson = {"cue_length": 25, "feedback_length": 0, "settle_length": 10, "trials": 12}
gymnasium.register(  # each cue is told once and then asked for, in trials of 25 steps
    "HalfCheetahCueLesson-v0",
    entry_point="spikepropamine.envs.half_cheetah:HalfCheetahCue",
    kwargs=_lesson | {"lesson": True, "reversal": "random"},
)
for _module, _name, _limit in (
    ("no_velocity", "CartPoleNoVelocity", 500), ("no_velocity", "PendulumNoVelocity", 200),
    ("half_cheetah", "HalfCheetahNoVelocity", 1000),
):  # fmt: skip
    gymnasium.register(
        f"{_name}-v0",
        entry_point=f"spikepropamine.envs.{_module}:{_name}",
        max_episode_steps=_limit,
    )
# Robots with a latent that holds for an episode; the variants differ in when feedback is shown.
for _robot in ("HalfCheetahDirection", "HalfCheetahVelocity"):
    for _feedback in ("dense", "sparse", "opening"):
        gymnasium.register(
            f"{_robot}{'' if _feedback == 'dense' else _feedback.capitalize()}-v0",
            entry_point=f"spikepropamine.envs.half_cheetah:{_robot}",
            kwargs={"feedback": _feedback},
            max_episode_steps=1000,
        )


def quiet_mujoco() -> None:
    """Drop MuJoCo's known deprecation warning; send its other warnings to `logging`.

    Without this every HalfCheetah prints the warning and leaves a file MUJOCO_LOG.TXT in the
    working directory. It holds for one process, so call it in each process that makes MuJoCo
    environments. It is not called on import, because importing MuJoCo takes about as long as all
    the rest and settles its rendering backend (MUJOCO_GL), which is for the program to choose.
    """
    import mujoco

    def log(message: str) -> None:
        # Gymnasium's half_cheetah.xml uses it; MuJoCo says so each time that it makes one
        if "'settotalmass' is deprecated" not in message:
            logging.getLogger("mujoco").warning(message)

    mujoco.set_mju_user_warning(log)
