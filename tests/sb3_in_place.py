"""A plugin of pytest that puts this project's algorithms in the place of those of SB3
and sb3-contrib, and leaves out the tests that use none of them.

`test_sb3_suites.py` runs the tests of both with it: `python -m pytest -p sb3_in_place`.
"""

import sb3_contrib
import stable_baselines3

from spikepropamine.agents import (
    PlasticCrossQ,
    PlasticPPO,
    PlasticSAC,
    PlasticTD3,
    PlasticTQC,
)

WITH_MEMORY = {
    "MlpPolicy": "MlpLstmPolicy",
    "CnnPolicy": "CnnLstmPolicy",
    "MultiInputPolicy": "MultiInputLstmPolicy",
}
"""Names of policies of `PPO`, and those of the same with an LSTM."""


class RememberingPPO(PlasticPPO):
    """`PlasticPPO` with the names of the policies of SB3's `PPO`."""

    def __init__(self, policy, *args, **kwargs):
        super().__init__(WITH_MEMORY.get(policy, policy), *args, **kwargs)


IN_PLACE = {
    (stable_baselines3, "PPO"): RememberingPPO,
    (stable_baselines3, "SAC"): PlasticSAC,
    (stable_baselines3, "TD3"): PlasticTD3,
    (sb3_contrib, "TQC"): PlasticTQC,
    (sb3_contrib, "CrossQ"): PlasticCrossQ,
    (sb3_contrib, "RecurrentPPO"): PlasticPPO,
}

for (_package, _name), _algorithm in IN_PLACE.items():
    setattr(_package, _name, _algorithm)


def uses_ours(item):
    """Whether the algorithm that a test has as an argument is one of this project's;
    where it has none, whether it names one of those that were replaced.
    """
    arguments = item.callspec.params if hasattr(item, "callspec") else {}
    for name in ("model_class", "algo"):
        if name in arguments:
            return arguments[name] in IN_PLACE.values()
    names = {name for _, name in IN_PLACE}
    return bool(names & set(item.function.__code__.co_names))


def pytest_collection_modifyitems(config, items):
    others = [item for item in items if not uses_ours(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if uses_ours(item)]
