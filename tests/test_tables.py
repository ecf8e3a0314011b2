"""Tables and figures of pages, out of results on file; those of this project agree."""

from pathlib import Path

import numpy as np
import pytest

from spikepropamine import power
from spikepropamine.colours import POLICIES, colour_of
from spikepropamine.common import UsageError
from spikepropamine.evaluation.derived import late_accuracy, retention
from spikepropamine.report import contrasts, figures, pages
from spikepropamine.report.tables import TABLES
from spikepropamine.statistics import difference, interval, pooled
from spikepropamine.table import table, where, write

ROOT = Path(__file__).parent.parent
PAGES = pages.pages_of(ROOT)
COMMITTED = ROOT / "benchmarks" / "results"


def rows_of(
    values, measure="correct", condition="clean", env="Cue", suite="standard", **more
):
    """Rows of a list of seeds by policy; of `correct`, those of two trials."""
    return [
        {"environment": env, "suite": suite, "policy": policy.replace("_", "-"),
         "seed": seed,
         "condition": condition, "measure": measure, "at": at, "value": value} | more
        for policy, some in values.items()
        for seed, value in enumerate(some)
        for at in ((0, 1) if measure == "correct" else (None,))
    ]  # fmt: skip


CUES = {"ndp_oja": [0.9, 0.92, 0.94, 0.96, 0.5], "snn": [0.5, 0.52, 0.48, 0.5, 0.51]}


@pytest.fixture
def made(tmp_path):
    """Writes rows, and makes a table of them: its cells, without the head."""

    def make(kind, rows, **asked):
        write(tmp_path / "some.csv", table(rows))
        lines = TABLES[kind]([tmp_path / "some.csv"], **asked).splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return make


# what is derived


def test_retention_is_the_runs_own_ratio():
    rows = rows_of({"a": [10.0, 20.0, 1.0, 30.0]}, "return")
    rows += rows_of({"a": [5.5, 10.5, 7.0, 15.5]}, "return", condition="noise")
    # one baseline for the task, 1.0, though evaluations drew other random actions
    rows += rows_of({"a": [0.5, 1.5, 1.0, 1.0]}, "random_return", condition=None)
    rows += rows_of({"a": [1.0, 1.0, 1.0, 0.0]}, "learned", condition=None)
    own = list(rows)
    for suite in (
        "standard-x10",
        "standard-x10-stochastic",
    ):  # random actions of episodes as long
        rows += [row | {"suite": suite, "value": 10 * row["value"]} for row in own]
    found = retention(table(rows))
    assert (
        where(found, condition="noise")["value"].to_list() == [0.5, 0.5] * 3
    )  # two did not learn
    assert where(found, condition="clean")["value"].to_list() == [1.0, 1.0] * 3


def test_late_accuracy_is_that_of_the_second_half_of_the_trials():
    base = {
        "environment": "Cue",
        "policy": "a",
        "condition": "clean",
        "measure": "correct",
    }
    right = [(0, 0), (0, 1), (1, 1)]  # in two episodes
    rows = [base | {"at": at, "value": value, "episode": episode}
            for at, values in enumerate(right) for episode,
            value in enumerate(values)]  # fmt: skip
    (late,) = late_accuracy(table(rows))["value"]
    assert late == 0.75  # of trials 1 and 2


# tables


def test_a_table_of_seeds_has_the_interquartile_mean_and_every_seed(made):
    observer = [row | {"policy": "ideal observer", "seed": None, "value": 1.0}
                for row in rows_of({"o": [1.0]})]  # fmt: skip
    rows = rows_of(CUES) + observer
    first, _, last = made("seeds", rows)
    assert first == [
        "`ndp-oja`",
        "0.92 (0.90 0.92 0.94 0.96 0.50)",
    ]  # 0.90, 0.92 and 0.94
    assert last == ["ideal observer", "1.00"]
    behind = made("behind_observer", rows)[1]
    low, high = interval(1 - np.array(CUES["snn"]))
    assert behind == ["`snn`", f"0.50 [{low:.2f}, {high:.2f}]"]


def test_seeds_that_are_missing_in_a_condition_have_a_dash_and_the_others_no_mean(made):
    rows = rows_of({"snn": [1.0, 2.0, 3.0]}, "return")
    rows.append(rows_of({"snn": [9.0, 1.5]}, "return", condition="noise")[1])
    ((_, clean, noise),) = [row[:1] + row[-2:] for row in made("seeds", rows)]
    assert (clean, noise) == ("2.00 (1.00 2.00 3.00)", "- 1.50 -")


def test_the_steps_to_a_return_are_the_first_on_file_that_reach_it(made):
    curves = {
        "ndp-oja": [[1.0, 5.0, 4.0], [5.0, 6.0, 7.0]],
        "snn": [[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]],
    }
    rows = [
        {"environment": "a", "policy": policy, "seed": seed,
         "measure": "training_return",
         "at": 1000 * (at + 1), "value": value}
        for policy, seeds in curves.items() for seed, curve in enumerate(seeds)
        for at, value in enumerate(curve)
    ]  # fmt: skip
    found = [["`ndp-oja`", "2,000", "1,000"], ["`snn`", "-", "3,000"]]
    assert made("reached", rows, level="5") == found
    missing = [row for row in rows if (row["policy"], row["seed"]) != ("snn", 0)]
    assert made("reached", missing, level="5")[1] == ["`snn`", "", "3,000"]
    with pytest.raises(UsageError, match="one environment"):
        made("reached", rows + [row | {"environment": "b"} for row in rows], level="5")


def test_a_relative_return_is_1_at_the_mean_of_the_reference_and_0_at_random_actions(
    made,
):
    rows = rows_of({"told": [10.0, 12.0], "lstm": [6.0, 1.0]}, "return", "noise")
    rows += rows_of(
        {"told": [1.0, 1.0], "lstm": [1.0, 1.0]}, "random_return", condition=None
    )
    found = made("relative", rows, to="told")
    assert [row[0] for row in found] == ["`told`", "`lstm`"]
    assert [row[1].split()[0] for row in found] == ["1.00", "0.25"]


SAMPLES = {
    "a": [0.9, 0.91, 0.93, 0.92],
    "b": [0.5, 0.51, 0.52, 0.5],
    "c": [0.45, 0.5, 0.6, 0.55],
    "d": [0.7],
}


@pytest.fixture
def plans(tmp_path, monkeypatch):
    """Writes the contrasts of the matrix whose results `made` writes."""
    monkeypatch.setattr(contrasts, "MATRICES", tmp_path)

    def plan(text):
        (tmp_path / "some.yaml").write_text(f"contrasts: {text}")

    return plan


def test_planned_contrasts_are_corrected_for_one_another_and_others_are_not(
    made, plans
):
    plans("{a: [b, c, d]}")
    rows = made("comparisons", rows_of(SAMPLES))
    # without its head, the sentence is left out, too
    planned = [row for row in rows if len(row) == 9 and row[0] == "Cue"]
    assert [row[1:4] for row in planned] == [
        ["`a`", "significantly higher", "`b`"],
        ["`a`", "significantly higher", "`c`"],
    ]  # one seed is not tested
    found = difference(SAMPLES["a"], SAMPLES["c"])
    assert planned[1][4] == "{:.2f} [{:.2f}, {:.2f}]".format(
        found.mean, *found.interval
    )
    other = difference(SAMPLES["a"], SAMPLES["b"])
    assert planned[1][5] == f"{found.p:.3f}"
    assert float(planned[1][6]) == pytest.approx(
        max(min(found.p, other.p) * 2, found.p, other.p), abs=0.001
    )
    assert planned[1][7] == f"{found.rank_p:.3f}" == "0.029"
    assert planned[1][8].startswith("1.00 [0.")
    (exploratory,) = [row for row in rows if len(row) == 7 and row[0] == "Cue"]
    assert exploratory[1:3] == ["`b`", "`c`"]
    assert "significant" not in str(exploratory)


def test_a_table_says_which_differences_it_can_see(tmp_path, plans):
    plans("{a: [b, c]}")
    write(tmp_path / "some.csv", table(rows_of(SAMPLES)))
    text = TABLES["comparisons"]([tmp_path / "some.csv"])
    seen = power.visible(4, 4, contrasts=2)
    assert f"can see differences of {seen:.1f} standard deviations" in text
    few = {policy: values[:3] for policy, values in SAMPLES.items()}
    write(tmp_path / "some.csv", table(rows_of(few)))
    text = TABLES["comparisons"]([tmp_path / "some.csv"])
    assert "With fewer than 4 runs of a policy nothing is tested" in text
    assert "significantly" not in text and text.count("not tested") == 2


def test_runs_that_diverged_count_as_the_worst(made, plans):
    plans("{a: [b]}")
    broke = {"environment": "Cue", "policy": "a", "measure": "diverged", "value": 1.0}
    rows = rows_of(SAMPLES) + [broke | {"seed": seed} for seed in (4, 5)]
    (row,) = [row for row in made("comparisons", rows) if row[3:4] == ["`b`"]]
    found = difference(SAMPLES["a"] + [0.45, 0.45], SAMPLES["b"])
    assert row[1] == "`a` (2 diverged)"
    assert row[4] == "{:.2f} [{:.2f}, {:.2f}]".format(found.mean, *found.interval)


def test_a_contrast_that_two_matrices_plan_is_one_test(tmp_path, plans):
    plans("{a: [b]}")
    (tmp_path / "more.yaml").write_text("contrasts: {b: [a]}")
    write(tmp_path / "some.csv", table(rows_of(SAMPLES)))
    write(tmp_path / "more.csv", table(rows_of({"e": [0.2, 0.3]})))
    text = TABLES["comparisons"]([tmp_path / "some.csv", tmp_path / "more.csv"])
    planned, _ = text.split("Exploratory")
    assert planned.count("| Cue |") == 1
    seen = power.visible(4, 4, contrasts=1)
    assert f"can see differences of {seen:.1f} standard deviations" in planned


def test_a_figure_of_returns_mixes_no_settings_of_an_environment(tmp_path):
    rows = rows_of({"a": [1.0, 2.0]}, "return", setting="short")
    rows += rows_of({"a": [8.0, 9.0]}, "return", setting="long")
    write(tmp_path / "some.csv", table(rows))
    with pytest.raises(UsageError, match="setting=LABEL"):
        figures.returns([tmp_path / "some.csv"])
    assert figures.returns([tmp_path / "some.csv"], setting="long")


@pytest.mark.parametrize("kind", ["seeds", "comparisons", "overall"])
def test_a_measure_that_is_not_there_is_refused(made, kind):
    with pytest.raises(UsageError, match="did you mean 'late_accuracy'"):
        made(kind, rows_of(SAMPLES), measure="late_acuracy")


def test_tables_show_and_count_runs_that_diverged(made, plans):
    plans("{a: [b]}")
    broke = {"environment": "Cue", "policy": "a", "measure": "diverged", "value": 1.0}
    rows = rows_of({"a": [0.9, 0.8], "b": [0.5, 0.7, 0.6]})
    rows += [broke | {"seed": 2}, broke | {"policy": "e", "seed": 0}]
    rows += [broke | {"policy": "e", "seed": 1}]
    (a, b, e) = made("seeds", rows, measure="late_accuracy")
    assert a == ["`a`", "0.73 (0.90 0.80 diverged)"]
    assert b == ["`b`", "0.60 (0.50 0.70 0.60)"]
    assert e == ["`e`", "0.50 (diverged diverged)"]
    for row in made("comparisons", rows):
        if row[1:2] + row[2:3] == ["`b`", "`e` (2 diverged)"]:
            assert row[3].startswith("0.10 [")
            break
    else:
        raise AssertionError("a policy whose runs all diverged is missing")


def test_the_worst_time_is_the_longest(made, plans):
    plans("{a: [b]}")
    broke = {"environment": "Cue", "policy": "a", "measure": "diverged", "value": 1.0}
    rows = [
        row | {"condition": "clean"} for row in rows_of(SAMPLES, "time_to_identify")
    ]
    rows += [broke | {"seed": seed} for seed in (4, 5)]
    found = made("comparisons", rows, measure="time_to_identify")
    (row,) = [row for row in found if row[3:4] == ["`b`"]]
    longest = max(max(SAMPLES["a"]), max(SAMPLES["b"]), max(SAMPLES["c"]))
    expected = difference(SAMPLES["a"] + [longest] * 2, SAMPLES["b"]).mean
    assert float(row[4].split()[0]) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("condition", ["clean", "noise"])
def test_nothing_is_relative_to_a_policy_that_is_no_better_than_random(made, condition):
    """Shares of a negative number would turn the order of policies round."""
    returns = {"clean": 5.0, "noise": 5.0} | {condition: -5.0}
    rows = rows_of({"told": [-1.0, 0.0]}, "random_return", condition=None)
    for key, value in returns.items():
        of_policies = {"told": [value] * 2, "snn": [value / 2] * 2}
        rows += rows_of(of_policies, "return", condition=key)
    with pytest.raises(UsageError, match=f"{condition}: 'told' earns no more than"):
        made("relative", rows, to="told")


def test_tasks_together_count_relative_to_a_reference(made):
    random = np.random.default_rng(0)
    means = {"a": 9, "b": 5}
    values = {
        env: {name: random.normal(at, 1, 5) * size for name, at in means.items()}
        for env, size in (("A", 1), ("B", 100), ("C", 1), ("D", 10))
    }
    rows = []
    for env, of in values.items():
        rows += rows_of(of, "return", env=env)
        rows += rows_of(
            {name: [0.0] * 5 for name in of}, "random_return", None, env=env
        )
    (row,) = [row for row in made("overall", rows, reference="b") if row[0] == "all"]
    _, one, other, gap, *_ = row
    unit = {env: of["b"].mean() for env, of in values.items()}
    found = pooled(
        *({env: of[name] for env, of in values.items()} for name in "ab"), unit
    )
    assert (one, other) == ("`a`", "`b`")
    assert gap == "{:.2f} [{:.2f}, {:.2f}]".format(found.mean, *found.interval)
    with pytest.raises(UsageError, match="reference=POLICY"):
        made("overall", rows)
    rows += rows_of({"c": [-1.0] * 5}, "return", env="B")
    with pytest.raises(UsageError, match="B: 'c' earns no more than random actions"):
        made("overall", rows, reference="c")


def test_tasks_together_tell_of_runs_without_a_value(made):
    rows = []
    for env in "AB":
        rows += rows_of({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}, "return", env=env)
    rows += rows_of({"a": [0.9, 0.8], "b": [0.5, 0.6, 0.7]}, "regained", env="A")
    rows += rows_of({"a": [0.9, 0.8, 0.7], "b": [0.5, 0.6, 0.7]}, "regained", env="B")
    row = made("overall", rows, measure="regained")[-1]
    _, one, other, *_ = row
    assert (one, other) == ("`a` (5 of 6 seeds)", "`b`")


def test_stepping_has_a_row_for_each_number_of_environments_and_threads_are_a_column(
    made,
):
    def row(policy, setting, measure, value):
        place = {"environment": "Ant-v5", "policy": policy, "setting": setting}
        return place | {"measure": measure, "value": value}

    rows = [
        row("mj_step", "8 environments", "share_of_mj_step", 1.0),
        row("make_vec", "8 environments", "share_of_mj_step", 0.875),
        row("envpool", "64 environments", "share_of_mj_step", 1.25),
        row("make_vec", "64 environments, 2 threads", "times_one_thread", 1.5),
    ]
    assert made("stepping", rows) == [
        ["Ant-v5", "8", "", "0.88", "", "", ""],
        ["Ant-v5", "64", "", "", "", "1.25", "1.50"],
    ]


@pytest.mark.parametrize("kind", ["seeds", "returns", "comparisons"])
def test_no_run_counts_twice_where_several_suites_have_the_clean_condition(made, kind):
    rows = [
        row
        for suite in ("standard", "noise")
        for row in rows_of(CUES, "return", suite=suite)
    ]
    with pytest.raises(UsageError, match="add suite=NAME"):
        made(kind, rows)
    assert made(kind, rows, suite="noise")


def test_what_cannot_be_averaged_is_not(made):
    rows = rows_of({"a": [0.9, 0.8, 0.7]}, "return")
    with pytest.raises(UsageError, match="it is there twice"):
        made("seeds", [*rows, rows[-1]])
    rows += rows_of({"a": [2.0, 2.0, 9.0]}, "episodes", condition=None)
    with pytest.raises(UsageError, match=r"episodes \(2.0, 9.0\)"):
        made("seeds", rows)
    with pytest.raises(UsageError, match="one environment and setting"):
        made("seeds", rows_of(CUES, "return") + rows_of(CUES, "return", env="Other"))


def test_retention_is_the_mean_over_conditions_with_an_interval_over_seeds(made):
    by_condition = {
        "clean": (100.0, 100.0, 100.0), "a": (40.0, 20.0, 30.0),
        "b": (60.0, 80.0, 70.0),
        "c": (20.0, 40.0, 90.0),
    }  # fmt: skip
    kinds = {"clean": {}, "a": {"split": "train", "severity": 0.5},
             "b": {"split": "held-out", "severity": 0.5},
             "c": {"split": "held-out"}}  # fmt: skip
    rows = rows_of({"snn": [0.0] * 3}, "random_return", None)
    for condition, values in by_condition.items():
        rows += rows_of({"snn": values}, "return", condition, **kinds[condition])
    ((policy, suite, whole, train, held_out, mild, middle, ret),) = made(
        "retention", rows
    )
    low, high = interval([0.4, 1.4 / 3, 1.9 / 3])
    assert (policy, suite, middle) == ("`snn`", "standard", "0.70")
    assert whole == f"0.50 [{low:.2f}, {high:.2f}]" and ret.startswith("50 [")
    assert (
        train.startswith("0.30 [")
        and held_out.startswith("0.60 [")
        and mild[:4] == "0.70"
    )


# pages


def test_tables_of_the_pages_are_those_of_the_committed_results(capsys):
    for page in PAGES:
        assert pages.with_tables(page.read_text(), COMMITTED) == page.read_text(), page


def test_only_what_stands_between_the_markers_changes(tmp_path, made):
    made("seeds", rows_of(CUES))
    page = "before\n<!-- table: seeds some -->\nold\n<!-- end -->\nafter\n"
    new = pages.with_tables(page, tmp_path)
    assert new.startswith("before\n<!-- table: seeds some -->\n\n| policy | clean |")
    assert new.endswith("<!-- end -->\nafter\n") and "old" not in new
    assert pages.with_tables(new, tmp_path) == new


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("seds some", "did you mean 'seeds'"),
        ("seeds", "name a file"),
        ("seeds cues", "there is no file"),
        ("seeds some env=Ant-v5", "no rows"),
        ("seeds some foo=1", "unknown column 'foo'"),
        ("speed some", "not in these files"),
        ("adaptation some", "not in these files"),
        ('seeds some "condition=clean', "quotes come in pairs"),
    ],
)
def test_a_marker_that_is_wrong_is_explained(tmp_path, made, marker, words):
    made("seeds", rows_of(CUES))
    with pytest.raises(UsageError, match=words) as error:
        pages.with_tables(f"<!-- table: {marker} -->\n<!-- end -->", tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no <!-- end -->"):
        pages.with_tables(f"<!-- table: {marker} -->\nold", tmp_path)


def test_a_page_is_made_and_checked_from_the_command_line(tmp_path, made, capsys):
    made("seeds", rows_of(CUES))
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- table: seeds some -->\n<!-- end -->\n"
        "<!-- figure: conditions some -->\n![x](x.png)"
    )
    asked = [str(page), "--results", str(tmp_path)]
    assert pages.main([*asked, "--check"]) == 1
    assert capsys.readouterr().err.count("run `spikepropamine claims`") == 2
    assert pages.main(asked) == 0
    assert pages.main([*asked, "--check"]) == 0
    made("seeds", rows_of(CUES | {"snn": [0.5, 0.52, 0.48, 0.5, 0.6]}))
    assert pages.main([*asked, "--check"]) == 1
    hours = rows_of({"snn": [1800.0, 1800.0]}, "seconds", None)
    made("seeds", rows_of(CUES) + hours)
    assert pages.main(asked) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == f"| {page} | some | `-` | 2 | 1.0 |"
    )


@pytest.mark.parametrize(
    ("revisions", "said"),
    [
        (["1234567", "1234567a"], None),
        (["1234567", "abcdef0"], "2 revisions, 0 of 10 runs"),
        (["1234567-dirty", "1234567"], "1 revision, 5 of 10 runs"),
    ],
)
def test_a_table_says_that_it_is_not_of_one_clean_revision(
    tmp_path, made, revisions, said
):
    first, second = revisions
    rows = rows_of({"snn": CUES["snn"]}, revision=first)
    rows += rows_of({"ndp_oja": CUES["ndp_oja"]}, revision=second)
    made("seeds", rows)
    page = "<!-- table: seeds some -->\n<!-- end -->\n"
    text = pages.with_tables(page, tmp_path)
    assert ("Not run from one clean revision" in text) == (said is not None)
    assert said is None or f"{said} with uncommitted changes.*" in text


# figures


@pytest.mark.nightly
def test_figures_of_the_pages_are_those_of_the_committed_results():
    for page in PAGES:
        assert pages.make_anew(page, COMMITTED, check=True) == []


def test_a_forest_has_a_row_for_each_task(tmp_path):
    rows = rows_of(CUES | {"mlp_sized": [0.5, 0.49, 0.52]})
    write(tmp_path / "cue.csv", table(rows))
    returns = {"ndp_oja": [8.0, 10.0], "mlp_sized": [9.0, 11.0]}
    rows = rows_of(returns, "return", env="Ant-v5")
    rows += rows_of(
        {name: [0.0, 0.0] for name in returns}, "random_return", None, env="Ant-v5"
    )
    write(tmp_path / "robots.csv", table(rows))
    write(
        tmp_path / "robots-lstm.csv",
        table(rows_of({"lstm": [4.0, 6.0]}, "return", env="Ant-v5")),
    )
    files = [tmp_path / "cue.csv", tmp_path / "robots.csv"]
    chart = figures.forest(files, **{"with": "robots-lstm"})
    (data,) = (
        chart["datasets"].values() if "datasets" in chart else [chart["data"]["values"]]
    )
    found = {(row["against"], row["task"].split(",")[0]): row["mean"] for row in data}
    cue = (np.mean(CUES["ndp_oja"]) - np.mean([0.5, 0.49, 0.52])) / 0.5
    assert found == pytest.approx({
        ("static", "Cue"): cue, ("static", "Ant-v5"): -0.1,
        ("LSTM", "Ant-v5"): 0.4,
    }, rel=1e-4)  # fmt: skip


def test_a_forest_has_no_unit_where_the_static_policy_is_no_better_than_random(
    tmp_path,
):
    rows = rows_of({"snn_sized": [-3.0, -2.0]}, "random_return", condition=None)
    rows += rows_of({"ndp_oja": [5.0, 6.0], "snn_sized": [-4.0, -5.0]}, "return")
    write(tmp_path / "some.csv", table(rows))
    with pytest.raises(UsageError, match="Cue: 'snn-sized' earns no more than random"):
        figures.forest([tmp_path / "some.csv"])


@pytest.mark.parametrize("policies", [["snn", "lstm"], ["ndp-oja", "lstm"]])
def test_a_forest_without_the_policies_that_it_needs_is_explained(tmp_path, policies):
    returns = {name: [8.0, 10.0] for name in policies}
    rows = rows_of(returns, "return") + rows_of(returns, "random_return", None)
    write(tmp_path / "some.csv", table(rows))
    with pytest.raises(UsageError, match="not in these files"):
        pages.made("figure", "forest some", tmp_path, figures.FIGURES)


def test_sizes_are_the_numbers_at_the_end_of_settings(tmp_path):
    rows = []
    for setting, score in (("motors-12", 0.8), ("motors-2", 0.9)):
        rows += rows_of({"lstm": [score]}, "explained", setting=setting)
    write(tmp_path / "maps.csv", table(rows))
    chart = figures.sizes([tmp_path / "maps.csv"])
    points = {(row["x"], row["value"]) for row in chart["data"]["values"]}
    assert points == {(2.0, 0.9), (12.0, 0.8)}
    both = rows + rows_of({"mlp": [0.1]}, "explained", setting="motors-2")
    write(tmp_path / "maps.csv", table(both))
    chart = figures.sizes([tmp_path / "maps.csv"], without="mlp")
    assert {row["policy"] for row in chart["data"]["values"]} == {"lstm"}
    rows += rows_of({"lstm": [0.5]}, "explained", setting="many")
    write(tmp_path / "maps.csv", table(rows))
    with pytest.raises(UsageError, match="'many' does not end with a number"):
        figures.sizes([tmp_path / "maps.csv"])


def test_policies_have_colours_of_their_own():
    assert (
        len(set(POLICIES.values())) == len(POLICIES) - 1
    )  # those that are no network share one
    assert colour_of("mine") == colour_of("mine") not in POLICIES.values()
