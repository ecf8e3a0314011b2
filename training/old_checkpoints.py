"""Checkpoints of before format 1: `checkpoints/last`, with model.zip and normalisation.pkl.

The second is a pickle, which when it is read runs whatever its maker wanted: hence `--trust`.
"""

import json
import pickle
import zipfile
from pathlib import Path

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from spikepropamine.common import UsageError, reason


def find_old(folder: Path) -> Path | None:
    """The old checkpoint in a folder of checkpoints, if there is one."""
    old = folder / "last"
    return old if (old / "model.zip").is_file() else None


def learn_on_old(algorithm: OnPolicyAlgorithm, old: Path) -> None:
    """Gives an algorithm what was learned, as `checkpoints.learn_on` does.

    Raises:
        UsageError: it is damaged, or of another network.
    """
    venv = algorithm.get_vec_normalize_env()
    try:
        algorithm.set_parameters(str(old / "model.zip"), exact_match=True)  # unpickles nothing
        with zipfile.ZipFile(old / "model.zip") as archive:
            numbers = json.loads(archive.read("data"))
        for name in ("num_timesteps", "_n_updates"):
            setattr(algorithm, name, int(numbers[name]))
        if venv is not None:
            with (old / "normalisation.pkl").open("rb") as file:
                normalisation = pickle.load(file)
            venv.obs_rms, venv.ret_rms = normalisation.obs_rms, normalisation.ret_rms
    except Exception as error:  # whatever a pickle can raise
        raise UsageError(f"{old} cannot be read: {reason(error)}") from error
