"""What a matrix ends with: its table with the planned contrasts, figure and report."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matrices import commands, file

from spikepropamine import table
from spikepropamine.matrix import (
    command,
    process,
    summary,
)
from spikepropamine.matrix.definition import load_matrix
from spikepropamine.matrix.rows import OBSERVER
from spikepropamine.report import figures
from spikepropamine.report.contrasts import Contrast


def results_of(values, **more):
    """Rows of returns by policy, one for each seed; NaN: it diverged."""
    rows = []
    for policy, returns in values.items():
        for seed, value in enumerate(returns):
            run = {"environment": "Task-v0", "policy": policy, "seed": seed} | more
            if np.isnan(value):
                rows.append(run | {"measure": "diverged", "value": 1.0})
                continue
            clean = {"suite": "standard", "condition": "clean", "value": value}
            rows.append(run | clean | {"measure": "return"})
            for at in (10, 20):
                curve = {"measure": "training_return", "at": at, "value": value}
                rows.append(run | curve)
    return table.table(rows)


VALUES = {
    "snn": [1.0, 2.0, 3.0, 2.0, 2.0],
    "mlp": [7.0, 9.0, 8.0, 8.5, 7.5],
    "lstm": [2.0, 1.0, np.nan, 2.0, 1.0],
}


def test_planned_contrasts_alone_are_compared_and_corrected_for():
    results = summary.results_by_task(results_of(VALUES))

    def p_of(contrasts):
        planned = summary.planned_comparisons(results, contrasts)
        assert [row.contrast for row in planned] == contrasts
        return [row.comparison.p for row in planned]

    (alone,) = p_of([Contrast("snn", "mlp")])
    first, _ = p_of([Contrast("snn", "mlp"), Contrast("snn", "lstm")])
    assert first == pytest.approx(min(1.0, 2 * alone))  # Holm, of two
    difference = summary.planned_comparisons(results, [Contrast("mlp", "snn")])[0]
    assert difference.comparison.difference.mean == pytest.approx(6.0)


def test_a_policy_of_one_run_is_not_compared_and_runs_that_diverged_are_counted(file):
    values = VALUES | {"lstm": [np.nan, 1.0, np.nan], "gru": [np.nan]}
    path = file(policies=list(values), contrasts={"snn": ["lstm", "gru"]})
    observer = {"environment": "Task-v0", "policy": OBSERVER, "measure": "return"}
    observer |= {"suite": "standard", "condition": "clean", "value": 9.0}
    frame = pl.concat([results_of(values), table.table([observer])])
    text = summary.table_of(load_matrix(path), frame)
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    rows = {tuple(line[2:5]) for line in lines if len(line) == 10}
    assert rows >= {
        ("snn", "5", "0"),
        ("lstm", "1", "2"),
        ("gru", "0", "1"),
        (OBSERVER, "0", "0"),
    }
    # the runs that diverged count as the worst: 1, that of the spiking network
    assert "| snn | not tested: fewer than 4 runs | lstm |" in text
    assert text.count("not compared: fewer than 2 runs") == 1


def test_a_matrix_ends_with_a_table_a_figure_and_a_report(
    file, commands, monkeypatch, capsys
):
    monkeypatch.undo()  # of what stands for the rows and the end
    monkeypatch.chdir(Path(file()).parent)
    monkeypatch.setattr(process, "run_alone", commands)

    def collect(cells, path):
        table.write(path, results_of(VALUES))
        return len(cells)

    monkeypatch.setattr(command, "collect", collect)
    monkeypatch.setattr(figures, "draw", lambda chart, path: path.write_text("picture"))
    path = file(policies=list(VALUES), contrasts={"snn": ["mlp", "lstm"]})
    commands.failing = {"CueAssociation-v0 plain mlp seed 1"}
    ends = ["--settings", "plain", "--runs", "runs", "--results", "results"]
    assert command.main([path, *ends]) == 1  # since a cell failed
    said = capsys.readouterr().out
    assert "| Task-v0 | snn | 5 | 0 | return | clean | 2.00 [" in said
    assert "| snn | significantly lower | mlp |" in said
    assert "| snn | no significant difference | lstm |" in said
    report = Path("runs/tiny/report.html").read_text()
    for title in ("Results", "Planned contrasts", "Learning", "Every condition"):
        assert f">{title}</h2>" in report
    assert "mlp seed 1: failed: train ended with 2: no luck" in report
    assert Path("runs/tiny/figure.png").read_text() == "picture"
