"""Estimates: why one has no interval; and what a measure's record has to say."""

import numpy as np
import pytest
from example_evaluation import example, write_example

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.evaluation.measures import MEASURES, OF_MATRICES, measure_named
from spikepropamine.evaluation.tabulation import check_series
from spikepropamine.folder import ASKED, RESULTS
from spikepropamine.matrix.rows import evaluated
from spikepropamine.report.estimates import estimate
from spikepropamine.report.evaluate import tables
from spikepropamine.report.evaluation import EvaluationResults


def test_a_mean_without_an_interval_says_why():
    assert estimate(np.ones((1, 5))).text() == "1.00 (all 5 equal)"
    assert estimate(np.array([[0.5]])).text(as_percent=True) == "50\u00a0% (1 value)"
    # retention is 1 in the clean task, by definition
    lines = tables(example()).splitlines()
    clean = next(line for line in lines if line.startswith("clean "))
    assert clean.split() == ["clean", "1.00", "1.00", "1.00"]


def test_records_of_measures_say_all_that_readers_ask():
    for measure in MEASURES.values():
        assert measure.title and measure.sentence.endswith("."), measure.name
        ways = [measure.rows, measure.derive, measure in OF_MATRICES or None]
        assert sum(way is not None for way in ways) == 1, measure.name
        low, high = measure.bounds
        assert low < high, measure.name
    order = [measure.tells for measure in MEASURES.values() if measure.tells]
    assert len(set(order)) == len(order)
    with pytest.raises(UsageError, match="did you mean 'settled_pace'"):
        measure_named("settled_pase")


def test_a_series_of_the_inside_of_a_network_that_is_no_measure_is_refused():
    check_series({"inside/count": np.ones(1), "inside/firing_rate": np.ones(1)})
    with pytest.raises(UsageError, match="unknown measure 'elegance'"):
        check_series({"inside/elegance": np.ones(1)})


def test_what_has_no_record_is_refused_by_name(tmp_path):
    folder = write_example(tmp_path / "some")
    rows = table.read(folder / RESULTS)
    unknown = rows.head(1).with_columns(measure=table.pl.lit("elegance"))
    table.write(folder / RESULTS, table.pl.concat([rows, unknown]))
    for read in (EvaluationResults.read, evaluated):
        with pytest.raises(UsageError, match="there is no measure 'elegance'"):
            read(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace(",0,", ",-7,", 40), "with seed -7 is described"),
        (lambda t: t.replace("mlp", "mlq"), "no run of mlq"),
        (lambda t: t.replace("light", "lite"), "no condition 'lite' is described"),
        (lambda t: t + t.splitlines()[-1] + "\n", "is there twice"),
        (
            lambda t: "\n".join(x for x in t.splitlines() if ",return," not in x),
            "has no return in the condition 'clean'",
        ),
    ],
)
def test_a_table_that_does_not_agree_with_its_description_is_named(
    tmp_path, change, said
):
    folder = write_example(tmp_path / "some")
    file = folder / RESULTS
    file.write_text(change(file.read_text()))
    with pytest.raises(UsageError, match=said) as error:
        EvaluationResults.read(folder)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace('"horizon": 1000', '"horizon": "x"'), "horizon must be"),
        (lambda t: t.replace('"window"', '"windows"'), "did you mean 'window'"),
        (lambda t: t.replace('"seed": 0', '"seed": null'), "seed must be an integer"),
        (lambda t: t.replace('"severity": 0.5', '"severity": "x"'), "severity must be"),
        (lambda t: "[]", "is no mapping"),
        (lambda t: t.replace('"runs"', '"run"'), "did you mean 'runs'"),
    ],
)
def test_a_description_that_is_damaged_is_named(tmp_path, change, said):
    folder = write_example(tmp_path / "some")
    file = folder / ASKED
    file.write_text(change(file.read_text()))
    with pytest.raises(UsageError, match=said) as error:
        EvaluationResults.read(folder)
    assert str(file) in str(error.value) and "\n" not in str(error.value)
