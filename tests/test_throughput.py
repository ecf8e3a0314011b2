"""The benchmark of speed: its file keeps other tasks."""

from benchmarks.rows import Rows
from spikepropamine.table import read


def rows(env="HalfCheetah-v5", **ratios):
    found = Rows()
    for policy, ratio in ratios.items():
        found.add({"relative_to_sb3": ratio}, environment=env, policy=policy, setting="64x64")
    return found


def test_a_case_measured_again_takes_its_own_place_in_the_file(tmp_path):
    for some in (rows(mlp=1.0), rows("Ant-v5", mlp=2.0), rows(mlp=3.0)):
        some.write(tmp_path / "file.csv")
    found = read(tmp_path / "file.csv")
    assert dict(found.select("environment", "value").iter_rows()) == {
        "HalfCheetah-v5": 3.0, "Ant-v5": 2.0,
    }  # fmt: skip
