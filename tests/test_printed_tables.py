"""What `evaluate.py` prints: of each kind of task the measure that is asked."""

import pytest
from example_evaluation import example_summary

from spikepropamine.report.terminal import MANY_CONDITIONS, tables


def few(summary):
    kept = summary["conditions"][:MANY_CONDITIONS]
    keys = {condition["key"] for condition in kept}
    results = {
        name: {key: result for key, result in of.items() if key in keys}
        for name, of in summary["results"].items()
    }
    return summary | {"conditions": kept, "results": results}


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({}, ["policy", "condition", "return", "retention"]),
        ({"cue": True}, ["policy", "condition", "late", "accuracy", "return"]),
        ({"contexts": True}, ["policy", "condition", "pace", "return", "retention"]),
    ],
)
def test_a_table_begins_with_what_the_task_asks(settings, head):
    assert tables(few(example_summary(**settings))).splitlines()[0].split() == head


def test_the_pace_is_explained_and_left_out_where_there_is_no_context():
    lines = tables(example_summary(contexts=True)).splitlines()
    assert lines[2].split()[:4] == ["ndp-oja", "clean", "-", "4000"]
    assert lines[3].split()[:4] == ["held", "out", "0.85", "[0.83,"]
    assert lines[-1].startswith("(pace: in steps 100 to 200 of a context")


@pytest.mark.parametrize(
    ("settings", "measure"),
    [({}, "(retention)"), ({"cue": True}, "(late accuracy)"), ({"contexts": True}, "(pace: ")],
)
def test_many_conditions_have_one_measure(settings, measure):
    summary = example_summary(**settings)
    for i in range(MANY_CONDITIONS):
        summary["conditions"].append(summary["conditions"][-1] | {"key": f"more {i}"})
    by_condition = tables(summary).split("\n\n")[0].splitlines()
    assert by_condition[0].split() == ["condition", "ndp-oja", "snn", "mlp"]
    assert by_condition[-1].startswith(measure)


def test_who_has_learned_nothing_has_a_table_of_returns():
    summary = example_summary()
    for of in summary["results"].values():
        for result in of.values():
            result["retention"] = None
    assert "(return)" in tables(summary)
