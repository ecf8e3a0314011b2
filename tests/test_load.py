"""Long trainings and evaluations hold no more than short ones: memory, files, processes."""

import sys

import pytest

from benchmarks import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.parametrize("policy", ["mlp", "ndp-oja"])
def test_nothing_is_left_over(tmp_path, policy):
    assert load.report("training", load.training(tmp_path, "CartPole-v1", policy, 200_000))
    assert load.report("evaluation", load.evaluation(tmp_path, "CartPole-v1", 200_000))
