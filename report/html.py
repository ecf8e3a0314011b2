"""The report of an evaluation: report.html, made from its summary.json."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from spikepropamine.common import write_text
from spikepropamine.evaluation.schema import Summary
from spikepropamine.reading import read_json
from spikepropamine.report import costs, findings, page, within_episode
from spikepropamine.report.page import Cell, Section, Table, Text, Videos, filled_table
from spikepropamine.report.reading import lesion_name, network_name, severest
from spikepropamine.report.shared import every_result, score_cell, where_cells
from spikepropamine.report.verdict import caveats, comparisons, verdict
from spikepropamine.report.words import listed, number, plural


def write_report(folder: Path, summary: Summary | None = None) -> Path:
    """Makes report.html out of a summary and videos/ in a folder; returns its path.

    Without a summary it is that of summary.json, which another evaluation may be replacing.
    """
    summary = summary or read_json(folder / "summary.json")
    videos = sorted(path.relative_to(folder) for path in (folder / "videos").glob("*.mp4"))
    path = folder / "report.html"
    write_text(path, report(summary, videos))
    return path


def report(summary: Summary, videos: list[Path] | None = None) -> str:
    """The report as HTML.

    Args:
        summary: what summary.json holds; its format is in evaluation/schema.py.
        videos: files relative to the report.
    """
    settings = summary["settings"]
    policies = list(summary["policies"])
    suite = f"suite “{settings['suite']}”, " if settings["suite"] else ""
    counts = {len(part["training_seeds"]) for part in summary["policies"].values()}
    seeds = f"{min(counts)} to " if len(counts) > 1 else ""
    revision = settings["versions"].get("revision", "?")
    subtitle = (
        f"{suite}{plural(settings['episodes'], 'episode')} per condition and run, "
        f"{seeds}{plural(max(counts), 'training seed')}, revision {revision}"
    )
    sections = [
        _verdict(summary),
        _tested(summary),
        findings.overview(summary),
        within_episode.trials(summary),
        findings.severity(summary),
        within_episode.adaptation(summary),
        within_episode.recovery(summary),
        findings.lesions(summary),
        findings.comparisons(summary),
        within_episode.inside(summary),
        costs.section(summary),
        _videos(videos or []),
        _results(summary),
        _skipped(summary),
        _settings(summary),
    ]
    title = f"Adaptation: {listed(policies)} on {settings['env']}"
    return page.render(title, subtitle, [section for section in sections if section.blocks])


def _verdict(summary: Summary) -> Section:
    cards = []
    for policy in summary["policies"]:
        first, *others = verdict(summary, policy)
        lead = Markup("<strong>{} {}</strong>").format(policy, first)
        cards.append(Markup("{}<p>{}</p>").format(lead, " ".join(others)) if others else lead)
    if summary["comparisons"]:
        cards.append(
            Markup("<strong>Compared.</strong><p>{}</p>").format(" ".join(comparisons(summary)))
        )
    limits = caveats(summary)
    if limits:
        lead = Markup("<strong>What this cannot tell.</strong>")
        cards.append(Markup("{}<p>{}</p>").format(lead, " ".join(limits)))
    return Section("Verdict", [Text(cards, bullets=True)])


def _tested(summary: Summary) -> Section:
    settings = summary["settings"]
    perturbed = [c for c in summary["conditions"] if c["lesion"] is None]
    had = [name for found in summary["lesions"].values() for name in found]
    lesions = [lesion_name(name) for name in settings["lesions"] if name in had]
    first, last = settings["seeds"]
    text = (
        f"Trained policies acted in {settings['env']} without any further training: "
        f"{plural(settings['episodes'], 'new episode')} per training run (seeds {first} to {last}) "
        f"in each of {plural(len(perturbed), 'condition')}, the same episodes in all of them. "
        "“Plastic” policies are spiking networks whose synapses go on changing inside an episode "
        "by a learned rule; every episode starts them afresh."
    )
    if lesions:
        text += (
            f" To see what plasticity causes, the same weights ran the same episodes again with "
            f"a lesion: {listed(lesions)}."
        )
    rows = []
    for policy, part in summary["policies"].items():
        rows.append(
            [
                policy,
                Cell(", ".join(map(str, part["training_seeds"])), len(part["training_seeds"])),
                Cell(_range(part["steps_trained"]), max(part["steps_trained"])),
                Cell(f"{part['actor_parameters']:,}", part["actor_parameters"]),
                part.get("perturb") or "the clean task",
                float(part["random_return"]),
                score_cell(part["clean_return"]),
                *[_training(part["training"].get(key)) for key in ("final", "best")],
            ]
        )
    columns = [
        "policy",
        "training seeds",
        "steps trained",
        "actor parameters",
        "trained in",
        "return of random actions",
        "return, clean task",
        "training return, last",
        "training return, best",
    ]
    words = [
        "Intervals, in brackets and as bands, are 95 % intervals of the mean: over training seeds, "
        "or over episodes where a policy was trained once. [?]: it cannot be told from so few, or "
        "from numbers that are all the same.",
        "Clean: the task as it is, without any perturbation.",
        "Return kept (retention): the return above that of random actions, relative to the same "
        "in the clean task. 100 % is no loss, 0 % no better than random. A policy that is not "
        "shown to earn more than random actions, and than standing still, has none to keep.",
        "Severity: how strong a perturbation is, from 0 (none) to 1.",
    ]
    if any(condition["split"] for condition in perturbed):
        words.append("Held-out: a perturbation that training was never to contain.")
    if lesions:
        words.append(
            "Lesion: a change to the network's state, not to its weights. Paired difference: as "
            "trained minus lesioned, episode by episode."
        )
    if settings["chance"] is not None:
        words.append("Late trials: the second half of an episode's trials.")
    table, glossary = Table(columns, rows), Text(words, True, folded="What the words mean")
    return Section("What was tested", [Text([text]), table, glossary])


def _videos(videos: list[Path]) -> Section:
    if not videos:
        return Section("Videos", [])
    text = "They lie beside this file, in videos/; keep the folder together."
    titled = {path.stem: quote(path.as_posix()) for path in videos}
    return Section("Videos", [Text([text]), Videos(titled)])


def _results(summary: Summary) -> Section:
    columns = [
        "policy",
        "condition",
        "severity",
        "split",
        "network",
        "return",
        "return kept",
        "late accuracy",
        "length in steps",
        "return by training seed",
    ]
    rows = [
        [
            policy,
            *where_cells(condition),
            condition["split"],
            network_name(condition["lesion"]),
            score_cell(result["return"]),
            score_cell(result["retention"], True),
            score_cell(result["late_accuracy"], True),
            score_cell(result["length"]),
            Cell(_each(result["return"]["by_run"]), result["return"]["mean"]),
        ]
        for policy, condition, result in every_result(summary)
    ]
    return Section("All results", [filled_table(columns, rows)])


def _skipped(summary: Summary) -> Section:
    rows = [
        [part["condition"], part["policy"] or "all policies", part["reason"]]
        for part in summary["skipped"]
    ]
    blocks = [Table(["left out", "for", "because"], rows)] if rows else []
    return Section("Left out", blocks)


def _settings(summary: Summary) -> Section:
    settings = summary["settings"]
    words = [shlex.quote(word) for word in settings["command"]]
    # a line breaks after any hyphen, and an option has to stay whole
    option = Markup('<span class="unbroken">{}</span>')
    whole = [option.format(word) if word.startswith("-") else escape(word) for word in words]
    command = Markup("<code>python {}</code>").format(Markup(" ").join(whole))
    rows: list[list[Any]] = [
        ["environment", settings["env"]],
        *[[f"environment: {key}", str(value)] for key, value in settings["env_kwargs"].items()],
        ["steps of an episode", settings["horizon"]],
        ["actions", "the likeliest" if settings["deterministic"] else "drawn at random"],
        *[
            # noise of the task's own is an argument of its environment
            [f"perturbation: {c['label']}", c["text"] or f"noise={c['severity']:g} of the task"]
            for c in severest(summary)
        ],
        *[[f"version: {key}", value] for key, value in settings["versions"].items()],
    ]
    rows = [row for row in rows if row[1] is not None]
    runs = [
        [policy, seed, folder]
        for policy, part in summary["policies"].items()
        for seed, folder in zip(part["training_seeds"], part["runs"])
    ]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(command)]),
            Table(["setting", "value"], [[key, str(value)] for key, value in rows]),
            Table(["policy", "training seed", "folder of the run"], runs),
        ],
    )


def _training(by_run: list[float | None] | None) -> Cell | None:
    known = [value for value in by_run or [] if value is not None]
    if not known:
        return None
    return Cell(_each(known), sum(known) / len(known))


def _each(values: Sequence[float | None]) -> str:
    return "  ".join(number(value) for value in values if value is not None)


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
