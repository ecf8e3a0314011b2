"""The benchmark of speed: its check finds what has fallen behind; its file keeps other tasks."""

import pytest

from benchmarks.rows import Rows
from benchmarks.throughput import check
from spikepropamine.table import read


def rows(env="HalfCheetah-v5", **ratios):
    found = Rows()
    for policy, ratio in ratios.items():
        found.add({"relative_to_sb3": ratio}, environment=env, policy=policy, setting="64x64")
    return found


@pytest.mark.parametrize(("ratio", "code"), [(2.0, 0), (1.8, 0), (3.0, 0), (1.6, 1)])
def test_only_a_policy_that_is_slower_than_the_file_says_fails_the_check(
    tmp_path, capsys, ratio, code
):
    rows(mlp=2.0, snn=1.0).write(tmp_path / "file.csv")
    assert check(rows(mlp=ratio, new=0.1), tmp_path / "file.csv") == code
    assert ("HalfCheetah-v5 mlp 64x64: 1.60" in capsys.readouterr().err) == bool(code)


def test_a_case_measured_again_takes_its_own_place_in_the_file(tmp_path):
    for some in (rows(mlp=1.0), rows("Ant-v5", mlp=2.0), rows(mlp=3.0)):
        some.write(tmp_path / "file.csv")
    found = read(tmp_path / "file.csv")
    assert dict(found.select("environment", "value").iter_rows()) == {
        "HalfCheetah-v5": 3.0, "Ant-v5": 2.0,
    }  # fmt: skip
