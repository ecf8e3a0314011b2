import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.report.results import lines_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
BY_KIND = {
    pl.String: TEXT,
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Float64: st.floats(allow_nan=False, allow_infinity=False),
}
ROW = st.fixed_dictionaries(
    {
        name: BY_KIND[kind] if name in table.NEEDED else st.none() | BY_KIND[kind]
        for name, kind in table.COLUMNS.items()
    }
)
PLAIN = {"environment": "A", "policy": "p", "measure": "return", "value": 1.0}


@settings(deadline=None)
@given(st.lists(ROW, max_size=4))
def test_what_is_written_is_read(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("table") / "results.csv"
    frame = table.table(rows)
    table.write(file, frame)
    assert table.read(file).equals(
        frame.with_columns(pl.col(pl.Float64).round_sig_figs(10))
    )


def test_several_files_are_read_in_their_order(tmp_path):
    for name in "ba":
        table.write(tmp_path / name, table.table([PLAIN | {"policy": name}]))
    both = table.read([tmp_path / "b", tmp_path / "a"])
    assert both["policy"].to_list() == ["b", "a"]
    assert table.read([]).is_empty()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("seed", "sead", 1), "did you mean 'seed'"),
        (
            lambda t: t.replace(",lesion", "", 1).replace(",,", ",", 1),
            "lesion is missing",
        ),
        (lambda t: t.replace("1.0", "one"), "value must be a number, got 'one'"),
        (lambda t: t.replace("7", "7.5"), "seed must be an integer, got '7.5'"),
        (lambda t: t.replace("1.0", "nan"), "value must be finite"),
        (lambda t: t.replace("1.0", "-inf"), "value must be finite"),
        (lambda t: t.replace("1.0", ""), "value is missing"),
        (lambda t: t.replace("A,", ",", 1), "environment is missing"),
        (lambda t: t + "," * 20 + "\n", "no table of results"),
        (lambda t: "", "no table of results"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, change, said):
    file = tmp_path / "results.csv"
    table.write(file, table.table([PLAIN | {"seed": 7}]))
    file.write_text(change(file.read_text()))
    with pytest.raises(UsageError, match=said) as error:
        table.read(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        table.read(tmp_path / "results.csv")


@pytest.mark.parametrize(
    "row",
    [
        PLAIN | {"value": float("nan")},
        PLAIN | {"severity": float("inf")},
        PLAIN | {"polisy": "p"},
        PLAIN | {"seed": "zero"},
        {"environment": "A"},
    ],
)
def test_rows_are_checked_as_files_are(row):
    with pytest.raises(UsageError):
        table.table([row])


def test_rows_are_selected_by_value_by_several_and_by_null():
    rows = [
        PLAIN | {"seed": seed, "lesion": lesion}
        for seed in range(3)
        for lesion in (None, "x")
    ]
    frame = table.table(rows)
    assert table.where(frame, seed=1)["lesion"].to_list() == [None, "x"]
    assert table.where(frame, seed=[0, 2], lesion=None)["seed"].to_list() == [0, 2]
    assert table.where(frame, lesion=[None, "x"]).height == 6
    with pytest.raises(UsageError, match="did you mean 'seed'"):
        table.where(frame, sed=1)


def test_lines_have_a_column_for_each_measure():
    rows = [
        PLAIN | {"seed": s, "measure": m, "value": v, "condition": "clean"}
        for s, m, v in ((0, "return", 1.0), (0, "length", 2.0), (1, "return", 3.0))
    ]
    wide = lines_of(table.table(rows))
    assert wide["return"].to_list() == [1.0, 3.0]
    assert wide["length"].to_list() == [2.0, None]
