"""The report of an evaluation, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spikepropamine.common import write_text
from spikepropamine.report import page
from spikepropamine.report.advice import advice_by_policy
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.sections import (
    conditions,
    differences,
    network,
    opening,
    record,
)
from spikepropamine.words import listed, plural


def write_report(folder: Path, results: EvaluationResults | None = None) -> Path:
    """Makes report.html out of the evaluation and videos/ in a folder.

    Args:
        folder: of the evaluation.
        results: those in the folder, where they have been read.

    Returns:
        The path of the report.

    Raises:
        UsageError: there is no evaluation, or it is damaged.
    """
    if results is None:
        results = EvaluationResults.read(folder)
    files = sorted((folder / "videos").glob("*.mp4"))
    videos = [file.relative_to(folder) for file in files]
    path = folder / "report.html"
    advice = advice_by_policy(folder, results)
    write_text(path, report(results, videos, advice))
    return path


def report(
    results: EvaluationResults,
    videos: Sequence[Path] = (),
    advice: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The report as HTML.

    Args:
        results: of the evaluation.
        videos: relative to the report.
        advice: what to try with policies that have not learned, by policy.
    """
    description = results.description
    title = f"Adaptation: {listed(list(results.policies))} on {description.environment}"
    parts = [plural(description.episodes, "episode") + " per condition and run"]
    if description.suite:
        parts.insert(0, f"suite “{description.suite}”")
    counts = [len(seeds) for seeds in results.policies.values()]
    runs = f"{plural(max(counts), 'training run')} of each policy"
    parts.append(f"{min(counts)} to {runs}" if min(counts) < max(counts) else runs)
    parts.append(f"revision {description.versions.get('revision', '?')}")
    sections = [
        opening.verdict(results, advice or {}),
        opening.tested(results),
        opening.overview(results),
        conditions.trials(results),
        conditions.severity(results),
        conditions.adaptation(results),
        conditions.recovery(results),
        differences.lesions(results),
        differences.comparisons(results),
        network.inside(results),
        network.costs(results),
        record.videos(videos),
        record.all_results(results),
        record.left_out(results),
        record.settings(results),
    ]
    return page.render(title, ", ".join(parts), sections)
