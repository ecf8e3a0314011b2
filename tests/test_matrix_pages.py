"""Tables, figures and claims of pages, out of results on file; those of this project agree."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikepropamine.common import UsageError
from spikepropamine.evaluation.judge.statistics import SHARE
from spikepropamine.matrix import make_figures, make_tables
from spikepropamine.matrix.claims import unsupported
from spikepropamine.matrix.figures import agrees, draw, learning
from spikepropamine.matrix.pages import pages_of, with_tables
from spikepropamine.matrix.rows import OBSERVER, Row, read_rows, write_rows
from spikepropamine.matrix.tables import (
    adaptation,
    behind_observer,
    comparisons,
    contexts,
    costs,
    growth,
    retention,
    returns,
    revisions,
    score_of,
    seeds,
    summary,
    verdict,
)
from spikepropamine.report import pictures as drawing

ROOT = Path(__file__).parent.parent
PAGES = pages_of(ROOT)
COMMITTED = ROOT / "benchmarks" / "results"


def cue_rows(**accuracies):
    """Rows of cue association, clean; a list of seeds by policy."""
    return [
        Row(env="Cue", policy=policy.replace("_", "-"), seed=seed, condition="clean",
            late_accuracy=value, accuracy_by_trial=f"0.5 {value}")
        for policy, values in accuracies.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """A folder with one file of results."""
    rows = cue_rows(ndp_oja=[0.9, 0.92, 0.94, 0.96, 0.5], snn=[0.5, 0.52, 0.48, 0.5, 0.51])
    observer = Row(env="Cue", policy=OBSERVER, condition="clean", late_accuracy=1.0,
                   accuracy_by_trial="0.5 1")  # fmt: skip
    write_rows(tmp_path / "cue.csv", [*rows, observer])
    return tmp_path


def cells(table):
    """Of the rows, without the head."""
    return [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# the pages of this project


def test_tables_of_the_pages_are_those_of_the_committed_results(capsys):
    assert make_tables.make(PAGES, COMMITTED, check=True) == 0, capsys.readouterr().err


def test_figures_of_the_pages_are_those_of_the_committed_results(capsys):
    assert make_figures.make(PAGES, COMMITTED, check=True) == 0, capsys.readouterr().err


def test_every_committed_file_of_learning_is_in_a_table():
    asked = " ".join(re.findall("<!-- table: (.*?) -->", "".join(p.read_text() for p in PAGES)))
    files = {file.stem for file in COMMITTED.glob("*.csv")}
    learning = {name for name in files if name.startswith(("cue-", "evidence-", "robots"))}
    assert learning and learning <= set(asked.split())


# tables


def test_how_far_policies_are_behind_the_ideal_observer(results):
    (plastic, gap), (static, other) = cells(behind_observer([results / "cue.csv"]))
    assert (plastic, static) == ("`ndp-oja`", "`snn`") and gap.startswith("0.16 [")
    assert other.startswith("0.50 [0.48, 0.5")  # 1 less the mean of the seeds


def test_a_table_of_revisions_names_each_once(tmp_path):
    rows = [replace(row, revision=f"r{row.seed % 2}") for row in cue_rows(snn=[0.5, 0.5, 0.5])]
    write_rows(tmp_path / "cue.csv", rows)
    assert cells(revisions([tmp_path / "cue.csv"])) == [["cue", "`snn`", "3", "r0 r1"]]


def test_comparisons_under_noise_say_so(tmp_path):
    clean = cue_rows(ndp_oja=[0.9, 0.92, 0.94], snn=[0.5, 0.52, 0.48])
    noisy = [replace(row, condition="noise-0.1", late_accuracy=0.5) for row in clean]
    write_rows(tmp_path / "cue.csv", [*clean, *noisy])
    (row,) = cells(comparisons([tmp_path / "cue.csv"], condition="noise-0.1"))
    assert row[0] == "Cue noise-0.1" and row[2] == "has no interval against"


def test_what_is_kept_over_a_suite_is_compared_suite_by_suite(tmp_path):
    rows = [
        replace(row, suite=suite, condition=c, lesion=lesion, retention=row.late_accuracy - less)
        for row in cue_rows(a=[0.9, 0.92, 0.94], b=[0.5, 0.52, 0.48])
        for suite in ("noise", "damage")
        for c, lesion, less in (
            ("clean", "", -9), ("weak 1", "", 0), ("weak 2", "", 0.2), ("weak 2 [off]", "off", 9),
        )
    ]  # fmt: skip
    write_rows(tmp_path / "suites.csv", rows)
    asked = {"condition": "perturbed", "measure": "retention"}
    noise, damage = cells(comparisons([tmp_path / "suites.csv"], **asked))
    assert noise[0] == "Cue noise perturbed retention" and damage[0].startswith("Cue damage")
    assert noise[2] == "ahead of" and noise[4].startswith("0.42 [")


def test_costs_are_shown_in_two_parts_and_what_is_not_counted_is_empty(tmp_path):
    counted = ("synapses", "neurons", "plasticity", "neuromodulators", "spiking", "neurobench")
    kinds = ("accumulates", "multiply_accumulates")
    parts = [f"{part}_{kind}" for part in counted for kind in kinds]
    columns = ["env", "policy", *parts, "energy_nJ", "parameter_bytes", "state_bytes",
               "activation_sparsity"]  # fmt: skip
    snn = ["A-v0", "snn", 120, 30, *[0] * 6, 100, 30, 100, 30, 1.5, 4000, 80, 0.9]
    mlp = ["A-v0", "mlp", 0, 500, *[0] * 6, *[""] * 4, 2.5, 2000, 0, 0]
    with (tmp_path / "costs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, snn, mlp])
    one, two = cells(costs([tmp_path / "costs.csv"]))
    assert one[2] == "120 + 30.0" and one[-2:] == ["100 + 30.0", "100 + 30.0"]
    assert two[2] == "0 + 500" and two[-2:] == ["", ""]


def test_one_seed_has_no_interval_even_where_it_is_at_an_end_of_the_scale():
    assert score_of([1.0], SHARE)["interval"] is None
    assert score_of([1.0] * 5, SHARE)["interval"] is not None


def test_growth_has_a_line_for_each_size_and_a_column_for_each_policy(tmp_path):
    columns = ["policy", "grows", "to", "microseconds_per_step"]
    measured = [[p, "width", to, to * k] for p, k in (("mlp", 2), ("snn", 3)) for to in (32, 64)]
    with (tmp_path / "growth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *measured])
    assert cells(growth([tmp_path / "growth.csv"])) == [
        ["width", "32", "64", "96"], ["width", "64", "128", "192"]
    ]  # fmt: skip


def test_a_table_of_seeds_has_the_interquartile_mean_and_every_seed(results):
    rows = cells(seeds([results / "cue.csv"]))
    assert rows[0] == ["`ndp-oja`", "0.92 (0.90 0.92 0.94 0.96 0.50)"]  # 0.90, 0.92 and 0.94
    assert rows[-1] == [OBSERVER, "1.00"]
    assert cells(summary([results / "cue.csv"]))[0] == ["`ndp-oja`", "0.92"]


def test_seeds_that_are_missing_in_a_condition_have_a_dash_and_the_others_no_mean(tmp_path):
    rows = [
        Row(env="A-v0", policy="snn", seed=seed, condition=condition, ret=ret)
        for seed, condition, ret in [
            (0, "clean", 1.0), (1, "clean", 2.0), (2, "clean", 3.0), (1, "noise", 1.5)
        ]
    ]  # fmt: skip
    write_rows(tmp_path / "some.csv", rows)
    ((*_, clean, noise),) = cells(seeds([tmp_path / "some.csv"]))
    assert (clean, noise) == ("2.00 (1.00 2.00 3.00)", "- 1.50 -")


@pytest.mark.parametrize("values, shown", [((-0.5, 0.984), "-0.50 0.98"), ((3, 812.4), "3 812")])
def test_small_returns_keep_their_decimals(tmp_path, values, shown):
    rows = [
        Row(env="A-v0", policy="snn", seed=seed, condition="clean", ret=value,
            training_return=value, best_training_return=value)
        for seed, value in enumerate(values)
    ]  # fmt: skip
    write_rows(tmp_path / "returns.csv", rows)
    ((_, *columns),) = cells(seeds([tmp_path / "returns.csv"]))
    assert len(columns) == 3 and all(f"({shown})" in column for column in columns)


def test_a_summary_of_several_tasks_names_them(tmp_path):
    rows = cue_rows(snn=[0.5, 0.6])
    write_rows(tmp_path / "cue.csv", [*rows, *(replace(row, setting="cues-4") for row in rows)])
    assert cells(summary([tmp_path / "cue.csv"])) == [
        ["Cue", "`snn`", "0.55"], ["Cue cues-4", "`snn`", "0.55"],
    ]  # fmt: skip
    with pytest.raises(UsageError, match="one environment and setting"):
        seeds([tmp_path / "cue.csv"])


def test_a_comparison_says_what_can_be_told(tmp_path):
    write_rows(tmp_path / "cue.csv", cue_rows(a=[0.9, 0.91, 0.92], b=[0.5, 0.51, 0.52], c=[0.7]))
    rows = cells(comparisons([tmp_path / "cue.csv"]))
    said = {(row[1], row[3]): row[2] for row in rows}
    assert said == {("`a`", "`b`"): "ahead of"}  # one seed says nothing
    assert [verdict(i) for i in ([0.1, 1], [-1, -0.1], [-1, 1], None)] == [
        "ahead of", "behind", "cannot be told from", "has no interval against",
    ]  # fmt: skip


@pytest.mark.parametrize("table", [seeds, summary, returns, comparisons])
def test_no_run_counts_twice_where_several_suites_have_the_clean_condition(tmp_path, table):
    rows = cue_rows(a=[0.9, 0.8], b=[0.5, 0.4])
    rows = [replace(row, suite=suite) for row in rows for suite in ("standard", "noise")]
    write_rows(tmp_path / "cue.csv", rows)
    with pytest.raises(UsageError, match="add suite=NAME"):
        table([tmp_path / "cue.csv"])
    assert table([tmp_path / "cue.csv"], suite="noise")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"episodes": 9}, "None and 9; run the matrix"), ({}, "it is there twice")],
)
def test_what_cannot_be_averaged_is_not(tmp_path, change, words):
    rows = cue_rows(a=[0.9, 0.8, 0.7])
    rows.append(replace(rows[-1], seed=3 if change else 2, **change))
    write_rows(tmp_path / "cue.csv", rows)
    with pytest.raises(UsageError, match=words):
        seeds([tmp_path / "cue.csv"])


def test_returns_of_plastic_policies_have_those_without_plasticity(tmp_path):
    rows = [
        Row(env="Ant-v5", policy=policy, seed=0, condition=condition, ret=ret)
        for policy in ("dp-bcm", "snn")
        for condition, ret in (("clean", 10.0), ("plasticity-off", 5.0))
    ]
    write_rows(tmp_path / "robots.csv", rows)
    assert [row[0] for row in cells(returns([tmp_path / "robots.csv"]))] == [
        "`dp-bcm`", "the same, plasticity off", "`snn`",
    ]  # fmt: skip


def test_retention_is_the_mean_over_conditions_with_an_interval_over_seeds(tmp_path):
    rows = [
        Row(env="Ant-v5", policy="snn", seed=seed, suite="noise", condition=condition, split=split,
            severity=severity, ret=100.0, retention=value)
        for seed, values in enumerate(
            [(1.0, 0.4, 0.6, 0.2), (1.0, 0.2, 0.8, 0.4), (1.0, 0.3, 0.7, 0.9)]
        )
        for condition, split, severity, value in zip(
            ("clean", "a", "b", "c"), ("", "train", "held-out", "held-out"),
            (None, 0.5, 0.5, None), values,
        )
    ]  # fmt: skip
    write_rows(tmp_path / "suites.csv", rows)
    ((policy, suite, every, train, held_out, mild, middle, ret),) = cells(
        retention([tmp_path / "suites.csv"])
    )
    assert (policy, suite, middle, ret) == ("`snn`", "noise", "0.70", "100 [?]")
    expected = zip((every, train, held_out, mild), ("0.50", "0.30", "0.60", "0.70"))
    assert all(cell.startswith(f"{mean} [") for cell, mean in expected)


def test_adaptation_is_told_by_condition(tmp_path):
    rows = [
        Row(env="Ant-v5", policy="ndp-oja", seed=seed, suite="motor-signs", condition=condition,
            settled_pace=pace)
        for seed in range(3) for condition, pace in (("clean", None), ("held out", 0.5 + seed / 10))
    ]  # fmt: skip
    write_rows(tmp_path / "signs.csv", rows)
    ((env, condition, policy, pace, later, *_),) = cells(adaptation([tmp_path / "signs.csv"]))
    assert (env, condition, policy, later) == ("Ant-v5", "held out", "`ndp-oja`", "")
    assert pace.startswith("0.60 [")


def test_what_plasticity_adds_is_told_of_networks_that_have_it(tmp_path):
    rows = [
        Row(env="Ant-v5", policy=policy, seed=seed, condition="held out", settled_pace=0.5,
            opening_over_off=added)
        for policy, gains in (("ndp-oja", (0.4, 0.5)), ("snn", (0.0, 0.0)))
        for seed, added in enumerate(gains)
    ]  # fmt: skip
    write_rows(tmp_path / "opening.csv", rows)
    (plastic, static) = cells(adaptation([tmp_path / "opening.csv"]))
    assert plastic[-1].startswith("0.45 [") and static[-1] == ""


def test_contexts_held_out_of_training_are_told_by_policy(tmp_path):
    held_out = [
        Row(env="Ant-v5", policy=policy, seed=seed, parameters=learned, suite="motor-signs",
            condition=f"held out {lesion}", split="held-out", lesion=lesion,
            settled_pace=pace + seed / 10, regained=None if lesion else share)
        for policy, learned, share in (("ndp-oja", 12345, 0.9), ("snn", 678, 0.1))
        for lesion, pace in (("", 0.8), ("off", 0.2), ("frozen", 0.4))
        for seed in range(3)
    ]  # fmt: skip
    seen = [replace(row, condition="seen", split="train", settled_pace=9.0) for row in held_out]
    write_rows(tmp_path / "signs.csv", held_out + seen)
    (plastic, static) = cells(contexts([tmp_path / "signs.csv"]))
    assert plastic[:2] == ["`ndp-oja`", "12,345"] and static[:2] == ["`snn`", "678"]
    assert plastic[2].startswith("0.90 [") and plastic[3].startswith("0.30 [")
    assert plastic[4].startswith("0.90") and static[3] == ""


def test_intervals_of_shares_end_where_shares_do(tmp_path):
    rows = [
        Row(env="Ant-v5", policy=policy, seed=seed, condition="clean", settled_pace=share,
            regained=share, late_accuracy=share)
        for policy, shares in (("a", (0.85, 0.95, 1.0)), ("b", (0.0, 0.05, 0.15)))
        for seed, share in enumerate(shares)
    ]  # fmt: skip
    write_rows(tmp_path / "shares.csv", rows)
    (first, second) = cells(adaptation([tmp_path / "shares.csv"]))
    pace, regained = first[3], first[5]
    assert pace.startswith("0.93 [0.") and not pace.endswith(", 1.00]")  # a pace is no share
    assert regained == f"{pace.split(',')[0]}, 1.00]" and second[5].startswith("0.07 [0.00, ")
    (row,) = cells(comparisons([tmp_path / "shares.csv"]))
    # 0.933 and 0.067, of which neither can be further from the middle than by another 0.067
    assert row[4].startswith("0.87 [0.") and row[4].endswith(", 0.96]")


# pages


def test_only_what_stands_between_the_markers_changes(results):
    page = "before\n<!-- table: summary cue -->\nold\n<!-- end -->\nafter\n"
    made = with_tables(page, results)
    assert made.startswith("before\n<!-- table: summary cue -->\n\n| policy | clean |")
    assert made.endswith("<!-- end -->\nafter\n") and "old" not in made
    assert with_tables(made, results) == made


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("sumary cue", "did you mean 'summary'"),
        ("summary", "name a file"),
        ("summary cues", "there is no file"),
        ("summary cue env=Ant-v5", "no rows"),
        ("summary cue foo=1", "unknown column 'foo'"),
        ("speed cue", "not in these files"),
        ('summary cue "condition=clean', "quotes come in pairs"),
    ],
)
def test_a_marker_that_is_wrong_is_explained(results, marker, words):
    with pytest.raises(UsageError, match=words):
        with_tables(f"<!-- table: {marker} -->\n<!-- end -->", results)


def test_a_page_alone_is_checked_against_those_that_it_refers_to(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert make_tables.main(["README.md", "--check"]) == 0, capsys.readouterr().err


def test_a_check_changes_nothing(results, capsys):
    page = results / "page.md"
    page.write_text("<!-- table: summary cue -->\n<!-- end -->\n")
    arguments = [str(page), "--results", str(results)]
    assert make_tables.main([*arguments, "--check"]) == 1
    assert "spikepropamine tables" in capsys.readouterr().err
    assert page.read_text() == "<!-- table: summary cue -->\n<!-- end -->\n"
    assert make_tables.main(arguments) == 0
    assert make_tables.main([*arguments, "--check"]) == 0


def test_a_figure_knows_the_rows_that_it_shows(results, capsys):
    page = results / "page.md"
    page.write_text("<!-- figure: conditions cue -->\n![Accuracy](cue.png)\n")
    arguments = [str(page), "--results", str(results)]
    assert make_figures.main([*arguments, "--check"]) == 1
    assert make_figures.main(arguments) == 0
    assert make_figures.main([*arguments, "--check"]) == 0
    rows = read_rows(results / "cue.csv")
    write_rows(results / "cue.csv", rows[1:])
    assert make_figures.main([*arguments, "--check"]) == 1
    assert "cue.png is not of" in capsys.readouterr().err


def test_accuracy_by_trial_is_drawn_where_it_was_kept(results):
    draw("trials", [results / "cue.csv"], {}, results / "trials.png")
    assert agrees("trials", [results / "cue.csv"], {}, results / "trials.png")
    assert not agrees("conditions", [results / "cue.csv"], {}, results / "trials.png")
    hopper = {"env": "Hopper-v5"}
    with pytest.raises(UsageError, match="do not have accuracy by trial"):
        draw("trials", [COMMITTED / "robots.csv"], hopper, results / "trials.png")
    with pytest.raises(UsageError, match="do not have late accuracy"):
        draw("conditions", [COMMITTED / "robots.csv"], hopper, results / "trials.png")
    for kind in ("trials", "conditions"):
        with pytest.raises(UsageError, match="of one environment and setting"):
            draw(kind, [COMMITTED / "cue-hard.csv"], {}, results / "trials.png")


def test_a_learning_curve_is_drawn_of_policies_of_which_every_run_has_one(tmp_path, monkeypatch):
    row = Row(env="A-v0", policy="snn", seed=0, steps=2_000_000, condition="clean")
    curve = " ".join(["nan", *map(str, range(19))])
    rows = [
        replace(row, returns_by_step=curve),
        replace(row, seed=1, returns_by_step=curve),
        replace(row, policy="mlp", returns_by_step=curve),
        replace(row, policy="mlp", seed=1),
    ]
    write_rows(tmp_path / "learning.csv", rows)
    drawn = {}
    monkeypatch.setattr(drawing, "curves", lambda panels, *_: drawn.update(panels))
    learning(read_rows(tmp_path / "learning.csv"), tmp_path / "learning.png")
    assert list(drawn) == ["A-v0"] and list(drawn["A-v0"]) == ["snn"]
    steps, returns = drawn["A-v0"]["snn"]
    assert steps[0] == pytest.approx(0.1) and steps[-1] == pytest.approx(2)
    assert returns.shape == (2, 20) and returns[1, -1] == 18
    monkeypatch.undo()
    draw("learning", [tmp_path / "learning.csv"], {}, tmp_path / "learning.png")
    assert agrees("learning", [tmp_path / "learning.csv"], {}, tmp_path / "learning.png")
    write_rows(tmp_path / "without.csv", [row])
    with pytest.raises(UsageError, match="do not have returns by step"):
        draw("learning", [tmp_path / "without.csv"], {}, tmp_path / "none.png")


# claims


TABLE = "| Ant-v5 | `ndp-oja` | ahead of | `mlp` | 5 [1, 9] | 0.9 [0.6, 1.0] |\n"
TABLES_OF = Path("docs/results/robots.md")
TITLE = "Ant-v5: ndp-oja ahead of mlp"
ROW = f'[table]({TABLES_OF}#comparisons "{TITLE}")'


def wrong_in(page, tables):
    """What is wrong with the claims of a page that links to another one with tables."""
    return unsupported(Path("README.md"), {Path("README.md"): page, TABLES_OF: tables})


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"It is far ahead on Ant ({ROW}).", 0),
        (f"It is behind.\n\nIt is better ({ROW}). It is level.", 2),
        (f"They cannot be told apart ({ROW}).", 1),
        ("It is far ahead\non Ant.", 1),
        (f"It is [far ahead]({TABLES_OF}).", 1),
        (f'It is [far\nahead]({TABLES_OF}\n"Ant-v5: ndp-oja ahead\nof mlp").', 0),
        (f'They [cannot be told apart]({TABLES_OF} "{TITLE}").', 1),
        (f'The MLP is [better]({TABLES_OF} "Ant-v5: mlp behind ndp-oja").', 0),
        (f'The MLP is [better]({TABLES_OF} "Ant-v5: mlp ahead of ndp-oja").', 1),
        (f'It is [better]({TABLES_OF} "Hopper-v5: ndp-oja ahead of mlp").', 1),
        (f'It is better ({ROW}), [too]({TABLES_OF} "Ant-v5: ndp-oja above mlp").', 1),
        ("| better | a table |", 0),
        ("It runs.\n\n## More\nIt is better.", 0),
    ],
)
def test_claims_name_comparisons_that_say_the_same(text, wrong):
    page = f"# Title\nbetter\n\n## Results\n\n{text}\n"
    assert len(wrong_in(page, f"## Comparisons\n\n{TABLE}")) == wrong


def test_a_claim_is_of_the_page_that_it_links_to():
    page = Path("docs/results.md")
    texts = {TABLES_OF: f"## Comparisons\n\n{TABLE}", page: ""}
    for file, there in (("results/robots.md", True), ("results/cues.md", False), ("", False)):
        texts[page] = f'## Results\n\nIt is [better]({file}#comparisons "{TITLE}").\n'
        assert (not unsupported(page, texts)) == there


def test_estimates_with_intervals_are_in_a_table():
    text = "By 5 [1,\n9], by -5 [-9, -1], by 5 [1, 8], and by -5 [1, 9] or 1,000 [900, 1,100]."
    for title in ("Results", "Claims"):
        wrong = wrong_in(f"## {title}\n\n{text}\n", f"{TABLE}| 1,000 [900, 1,100] |\n")
        assert [line.partition(":")[0] for line in wrong] == [
            "no table has 5 [1, 8]",
            "no table has -5 [1, 9]",
        ]


def test_a_claim_may_be_of_policies_of_which_some_seeds_have_no_value():
    results = "## Comparisons\n\n" + TABLE.replace("`mlp`", "`mlp` (4 of 5 seeds)")
    assert not wrong_in(f"## Results\n\nIt is ahead ({ROW}).\n", results)


def test_a_claim_is_of_the_section_that_it_links_to():
    other = TABLE.replace("ahead of", "cannot be told from")
    results = f"## Comparisons\n\n### As it is\n\n{TABLE}\n## In noise\n\n{other}"

    def wrong(anchor):
        return wrong_in(f'## Results\n\nIt is [better]({TABLES_OF}{anchor} "{TITLE}").\n', results)

    assert not wrong("#comparisons") and not wrong("#as-it-is")
    assert "`" not in wrong("#in-noise")[0] and f"in {TABLES_OF}#in-noise" in wrong("#in-noise")[0]
    assert "there is no comparison" in wrong("#elsewhere")[0]
    assert "ahead of and cannot be told from" in wrong("")[0]


def test_statistics_are_reproducible(results):
    first, second = (comparisons([results / "cue.csv"]) for _ in range(2))
    assert first == second
    assert np.isfinite(float(cells(first)[0][4].split()[0]))
