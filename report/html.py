"""The report of an evaluation, report.html, and its figures as pictures."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from spikepropamine.common import write_text
from spikepropamine.report import page, sections
from spikepropamine.report.evaluation import Evaluation
from spikepropamine.report.page import Cell, Section, Table, Text, Videos
from spikepropamine.report.sections import cell
from spikepropamine.report.sentences import sentences
from spikepropamine.words import listed, number, plural

PARTS = (
    sections.overview,
    sections.trials,
    sections.severity,
    sections.adaptation,
    sections.recovery,
    sections.lesions,
    sections.comparisons,
    sections.inside,
    sections.costs,
)
BESIDE = "They lie beside this file, in videos/; keep the folder together."


def write_report(folder: Path, found: Evaluation | None = None) -> Path:
    """Makes report.html out of the evaluation and videos/ in a folder; returns its path."""
    found, path = found or Evaluation.read(folder), folder / "report.html"
    videos = sorted(file.relative_to(folder) for file in (folder / "videos").glob("*.mp4"))
    write_text(path, report(found, videos))
    return path


def report(found: Evaluation, videos: Sequence[Path] = ()) -> str:
    """The report as HTML, with videos beside it."""
    asked, policies = found.asked, list(found.policies)
    suite = f"suite “{asked['suite']}”, " if asked["suite"] else ""
    counts = {len(seeds) for seeds in found.policies.values()}
    seeds = f"{min(counts)} to " if len(counts) > 1 else ""
    subtitle = (
        f"{suite}{plural(found.episodes, 'episode')} per condition and run, "
        f"{seeds}{plural(max(counts), 'training run')} of each policy, "
        f"revision {asked['versions'].get('revision', '?')}"
    )
    title = f"Adaptation: {listed(policies)} on {asked['environment']}"
    rows = [[x["condition"], x["policy"] or "all policies", x["reason"]] for x in asked["skipped"]]
    titled = {path.stem: quote(path.as_posix()) for path in videos}
    every = [
        _verdict(found),
        _tested(found),
        *(make(found) for make in PARTS),
        Section("Videos", [Text([BESIDE]), Videos(titled)] if videos else []),
        sections.results(found),
        Section("Left out", [Table(["left out", "for", "because"], rows)] if rows else []),
        _settings(found),
    ]
    return page.render(title, subtitle, [section for section in every if section.blocks])


def _verdict(found: Evaluation) -> Section:
    cards = []
    for policy in found.policies:
        first, *others = sentences("verdict", found, policy)
        cards.append((f"{policy} {first}", others))
    more = {"Compared.": "comparisons", "What this cannot tell.": "caveats"}
    cards += [(lead, others) for lead, name in more.items() if (others := sentences(name, found))]
    items = [
        Markup("<strong>{}</strong>{}").format(
            lead, Markup("<p>{}</p>").format(" ".join(others)) if others else ""
        )
        for lead, others in cards
    ]
    return Section("Verdict", [Text(items, bullets=True)])


def _tested(found: Evaluation) -> Section:
    rows = []
    for policy, seeds in found.policies.items():
        runs = [run for run in found.asked["runs"] if run["policy"] == policy]
        steps = [run["steps"] for run in runs]
        low, high = min(steps), max(steps)
        rows.append(
            [policy, Cell(", ".join(f"seed {seed}" for seed in seeds), len(seeds))]
            + [Cell(f"{low:,}" if low == high else f"{low:,} to {high:,}", high)]
            + [_each(found.fact(policy, "parameters")[:1]), runs[0]["perturb"] or "the clean task"]
            + [_each(found.fact(policy, "random_return")[:1]), cell(found.returns(policy))]
            + [_each(found.fact(policy, f"{best}training_return")) for best in ("", "best_")]
        )
    columns = ["policy", "trained with", "steps trained", "trainable parameters of the actor",
               "trained in", "return of random actions", "return, clean task",
               "training return, last", "training return, best"]  # fmt: skip
    glossary = Text(sentences("glossary", found), True, folded="What the words mean")
    tested = Text(sentences("tested", found))
    return Section("What was tested", [tested, page.filled_table(columns, rows), glossary])


def _settings(found: Evaluation) -> Section:
    asked = found.asked
    words = [shlex.quote(word) for word in asked["command"]]
    # a line breaks after any hyphen, and an option has to stay whole
    option = Markup('<span class="unbroken">{}</span>')
    whole = [option.format(word) if word.startswith("-") else escape(word) for word in words]
    command = Markup("<code>python {}</code>").format(Markup(" ").join(whole))
    rows = [
        ["environment", asked["environment"]],
        *[[f"environment: {key}", value] for key, value in asked["env_kwargs"].items()],
        ["steps of an episode", asked["horizon"]],
        ["actions", "deterministic" if asked["deterministic"] else "sampled"],
        *[
            # noise of the task's own is an argument of its environment
            [f"perturbation: {c.label}", c.text or f"noise={c.severity:g} of the task"]
            for c in found.severest
        ],
        *[[f"version: {key}", value] for key, value in asked["versions"].items()],
    ]
    runs = [[run["policy"], run["seed"], run["folder"]] for run in asked["runs"]]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(command)]),
            Table(["setting", "value"], [[key, str(value)] for key, value in rows]),
            Table(["policy", "training seed", "folder of the run"], runs),
        ],
    )


def _each(values: Sequence[float | None]) -> Cell | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Cell("  ".join(map(number, known)), sum(known) / len(known))
