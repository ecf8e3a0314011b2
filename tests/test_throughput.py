"""The benchmark of speed: its check finds what has fallen behind; its table keeps other tasks."""

import csv

import pytest

from benchmarks import throughput


def row(policy="mlp", ratio=1.0, env="HalfCheetah-v5"):
    return {"env": env, "policy": policy, "hidden": "64x64", "relative_to_sb3": ratio}


@pytest.mark.parametrize(("ratio", "code"), [(2.0, 0), (1.8, 0), (3.0, 0), (1.6, 1)])
def test_only_a_policy_that_is_slower_than_the_table_says_fails_the_check(
    tmp_path, capsys, ratio, code
):
    file = tmp_path / "table.csv"
    throughput.write([row("mlp", 2.0), row("snn", 1.0)], file)
    assert throughput.check([row("mlp", ratio), row("new", 0.1)], file) == code
    assert ("HalfCheetah-v5 mlp 64x64: 1.60" in capsys.readouterr().err) == bool(code)


def test_a_task_measured_again_takes_its_own_place_in_the_table(tmp_path):
    file = tmp_path / "table.csv"
    for rows in ([row(ratio=1.0)], [row(ratio=2.0, env="Ant-v5")], [row(ratio=3.0)]):
        throughput.write(rows, file)
    with file.open(newline="") as stream:
        found = {line["env"]: float(line["relative_to_sb3"]) for line in csv.DictReader(stream)}
    assert found == {"HalfCheetah-v5": 3.0, "Ant-v5": 2.0}
