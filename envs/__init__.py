"""Environments: tasks in which the answer has to be learned, or remembered, inside an
episode.

Importing this package registers its environments, so
`gymnasium.make("CueAssociation-v0")` works after `import spikepropamine`, and so does
`gymnasium.make("spikepropamine:CueAssociation-v0")` alone. It imports neither torch nor
Stable-Baselines3, and MuJoCo only when `quiet_mujoco` is called.
"""

import logging

from spikepropamine.envs.ids import register_all

__all__ = ["quiet_mujoco"]

register_all()


def quiet_mujoco() -> None:
    """Drop MuJoCo's known deprecation warning; send its other warnings to `logging`.

    Without this every HalfCheetah prints the warning and leaves a file MUJOCO_LOG.TXT
    in the working directory. It holds for one process, so call it in each process that
    makes MuJoCo environments. It is not called on import, because importing MuJoCo
    takes about as long as all the rest and settles its rendering backend (MUJOCO_GL),
    which is for the program to choose.
    """
    import mujoco

    def log(message: str) -> None:
        # Gymnasium's half_cheetah.xml uses it; MuJoCo says so each time that it makes
        # one
        if "'settotalmass' is deprecated" not in message:
            logging.getLogger("mujoco").warning(message)

    mujoco.set_mju_user_warning(log)
