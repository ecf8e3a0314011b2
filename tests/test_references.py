"""Numbers in sentences refer to rows, or are on file, so that none changes unseen."""

import functools
import random
import re
from pathlib import Path

import polars as pl
import pytest

from spikepropamine.common import UsageError
from spikepropamine.report import pages, references
from spikepropamine.report.markers import TABLE, check_markers
from spikepropamine.report.references import (
    listed_numbers,
    value_of,
    with_references,
)
from spikepropamine.statistics import difference
from spikepropamine.table import read, table, write

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "benchmarks" / "results"
RUNS = {"snn": [1.0, 2.0, 3.0, 6.0], "mlp": [2.0, 2.5, 3.0, 4.5]}
DIGITS = 200


@pytest.fixture
def results(tmp_path):
    rows = [
        {"environment": "Task-v0", "suite": "standard", "condition": condition,
         "policy": policy, "seed": seed, "measure": "return", "value": value * scale}
        for condition, scale in (("clean", 1), ("noise", 0.1))
        for policy, values in RUNS.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    write(tmp_path / "some.csv", table(rows))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("middle some policy=snn", 2.5),
        ("mean some policy=snn", 3.0),
        ("mean some policy=snn condition=noise", 0.3),
        ("lowest some policy=snn", 1.0),
        ("highest some policy=snn times=100", 600.0),
        ("runs some policy=snn", 4.0),
        ("difference some policy=mlp other=snn", 0.0),
        ("improvement some policy=mlp other=snn", 9 / 16),
        ("ratio some policy=snn other=mlp", 2.5 / 2.75),
    ],
)
def test_a_reference_has_the_value_of_the_rows(results, words, value):
    assert value_of(words, results).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("mean some policy=snn", 2.6),
        ("runs some policy=snn", 5.0),
        ("middle some policy=lstm", 1.0),
        ("difference some policy=mlp other=lstm", 2.0),
        ("difference some policy=lstm other=mlp measure=recovery_time", 10.0),
    ],
)
def test_runs_that_diverged_count_as_the_worst(results, words, value):
    rows = read(results / "some.csv")
    task = {"environment": "Task-v0", "value": 1.0}
    broke = [
        task | {"measure": "diverged", "policy": policy, "seed": seed}
        for policy, seed in (("snn", 4), ("lstm", 0), ("lstm", 1))
    ]
    times = [
        task | {"suite": "standard", "condition": "clean", "policy": policy,
                "seed": seed, "measure": "recovery_time", "value": time}
        for policy, time in (("snn", 30.0), ("mlp", 20.0))
        for seed in range(4)
    ]  # fmt: skip
    write(results / "some.csv", pl.concat([rows, table(broke), table(times)]))
    assert value_of(words, results).value == pytest.approx(value)


def test_nothing_is_pooled_relative_to_a_policy_that_is_no_better_than_random(results):
    rows = read(results / "some.csv")
    random = [
        {"environment": "Task-v0", "policy": policy, "seed": 0, "value": 3.5,
         "measure": "random_return"}
        for policy in RUNS
    ]  # fmt: skip
    write(results / "some.csv", pl.concat([rows, table(random)]))
    with pytest.raises(UsageError, match="Task-v0: 'mlp' earns no more than random"):
        value_of("pooled some policy=snn other=mlp", results)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mean some", "of one policy: add policy=POLICY"),
        ("difference some policy=snn", "add other=POLICY"),
        ("pooled some other=snn", "add policy=POLICY"),
        ("mean some policy=snn policy=mlp", "policy is there twice"),
        ("mean some other policy=snn", "add env=ID"),
        ("difference some other policy=snn other=mlp", "add env=ID"),
        ("mean some policy=snn measure=retrun", "did you mean 'return'"),
        ("mean some policy='snn", "quotes come in pairs"),
        ("mean", "name a file"),
    ],
)
def test_a_reference_that_could_mean_several_things_is_refused(results, words, message):
    rows = read(results / "some.csv")
    write(results / "other.csv", rows.with_columns(environment=pl.lit("Other-v0")))
    with pytest.raises(UsageError, match=message):
        value_of(words, results)


@pytest.mark.parametrize(
    "comment",
    [
        "<!--= mean some policy=snn -->",
        "<!-- =mean some policy=snn -->",
        "<!--table: seeds some -->",
        "<!-- Table: seeds some -->",
        "<!-- table seeds some -->",
        "<!-- figures: learning some -->",
        "<!-- = mean some policy=snn",
        "<!--end-->",
    ],
)
def test_a_comment_that_is_almost_a_marker_is_refused(comment):
    with pytest.raises(UsageError, match="a marker is written as in"):
        check_markers(f"3.0{comment}")
    right = (
        "3.0<!-- = mean some\npolicy=snn --> <!-- table: seeds some --> <!-- end -->"
    )
    check_markers(f"{right} <!-- the end of it --> <!-- prettier-ignore -->")


def test_a_minus_sign_that_no_number_has_is_refused(results):
    page = "9.9<!-- = difference some policy=mlp other=snn times=-1 -->"
    with pytest.raises(UsageError, match="write -"):
        with_references("\N{MINUS SIGN}" + page, results)
    assert with_references(page, results).startswith("0.0<")


def test_the_sign_of_a_listed_number_is_on_file():
    lines = listed_numbers("lost -3, and \N{MINUS SIGN}4; cue-2, 1-2, (-0.5)", TABLE)
    assert lines == ["lost and cue | -3 \N{MINUS SIGN}4 2 1 2 -0.5"]


def test_a_number_is_written_as_the_page_writes_it(results):
    page = (
        "**9.9**<!-- = mean some policy=snn -->, 1 % [2,\n  3]<!-- = difference some "
        "policy=snn other=mlp condition=noise -->, 1,000<!-- = highest some policy=snn "
        "times=1000 -->, 7\n"
    )
    low, high = difference(
        *([v / 10 for v in RUNS[p]] for p in ("snn", "mlp"))
    ).interval
    found = re.sub(r"<!--.*?-->", "", with_references(page, results), flags=re.DOTALL)
    assert found == f"**3.0**, 0 % [{100 * low:.0f},\n  {100 * high:.0f}], 6,000, 7\n"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("1<!-- = meen some policy=snn -->", "did you mean 'mean'"),
        ("1<!-- = mean policy=snn -->", "name a file"),
        ("1<!-- = mean some policy=snm -->", "no rows"),
        ("1 [0, 2]<!-- = middle some policy=snn -->", "no interval"),
        ("one<!-- = mean some policy=snn -->", "no number before it"),
        ("1<!-- = p some policy=snn -->", "add other=POLICY"),
    ],
)
def test_a_wrong_reference_is_explained(results, reference, said):
    with pytest.raises(UsageError, match=said) as error:
        with_references(f"It is {reference}.", results)
    assert "\n" not in str(error.value)


def test_numbers_without_rows_are_listed_by_paragraph(results):
    page = (
        "# Title 1\n\nFirst 2.5 and 3 %, 4<!-- = mean some policy=snn -->.\n\n- None\n"
        "- Of 5\n\n<!-- table: seeds some -->\n\n| 6 |\n\n<!-- end -->\n"
    )
    assert listed_numbers(page, pages.TABLE) == [
        "Title | 1",
        "First and mean some policy snn | 2.5 3",
        "Of | 5",
    ]


def test_a_number_without_rows_that_changes_is_noticed(results, monkeypatch, capsys):
    monkeypatch.chdir(results)
    page = Path("README.md")
    page.write_text("It has 5 layers.\n")
    assert pages.main(["README.md", "--results", ".", "--check"]) == 1
    assert "--accept" in capsys.readouterr().err
    Path("docs").mkdir()
    assert pages.main(["README.md", "--results", ".", "--accept"]) == 0
    assert pages.main(["README.md", "--results", ".", "--check"]) == 0
    page.write_text("It has 6 layers.\n")
    assert pages.main(["README.md", "--results", ".", "--check"]) == 1
    assert "It has layers | 6" in capsys.readouterr().err


def test_the_list_of_numbers_is_that_of_the_pages(monkeypatch):
    monkeypatch.chdir(ROOT)
    mine = pages.listed_pages(Path())
    assert references.LIST.read_text() == pages.numbers_on_file(mine)


@pytest.mark.nightly
def test_of_200_digits_that_change_at_random_all_are_noticed(monkeypatch):
    monkeypatch.chdir(ROOT)
    mine = pages.listed_pages(Path())
    texts = {page: page.read_text() for page in mine}
    # that tables are those of the rows, another test shows
    bodies = {
        match[2]: match[3].strip("\n")
        for text in texts.values()
        for match in pages.TABLE.finditer(text)
    }
    made = pages.made

    def made_or_known(kind, text, *others):
        return bodies[text] if text in bodies else made(kind, text, *others)

    monkeypatch.setattr(pages, "made", made_or_known)
    monkeypatch.setattr(pages, "_origin", lambda *_: "")
    monkeypatch.setattr(references, "value_of", remembering(value_of))
    assert all(noticed(page, texts[page], texts[page]) == "" for page in mine)
    places = [
        (page, place.start())
        for page in mine
        for place in re.finditer(r"\d", texts[page])
    ]
    dice = random.Random(0)
    unseen = []
    for page, place in dice.sample(places, DIGITS):
        text = texts[page]
        other = dice.choice([digit for digit in "0123456789" if digit != text[place]])
        changed = text[:place] + other + text[place + 1 :]
        if not noticed(page, text, changed):
            unseen.append((page, text[place - 40 : place + 20]))
    assert unseen == []


def remembering(function):
    known = {}

    @functools.wraps(function)
    def remembered(*arguments):
        key = repr(arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return remembered


def noticed(page, text, changed):
    """Why `claims --check` would fail on a changed page; empty: it would not."""
    try:
        made = with_references(pages.with_tables(changed, COMMITTED), COMMITTED)
    except UsageError as error:
        return str(error)
    if made != changed:
        return "rows"
    if listed_numbers(changed, pages.TABLE) != listed_numbers(text, pages.TABLE):
        return "list"
    return ""
