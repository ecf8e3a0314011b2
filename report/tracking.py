"""An evaluation as a run in Weights & Biases: report, tables, videos and its files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from spikepropamine.folder import RunFolder
from spikepropamine.report.evaluation import SPLITS, EvaluationResults
from spikepropamine.report.page import Section, Table, order_of, show
from spikepropamine.report.sections.differences import lesions
from spikepropamine.report.sections.record import all_results
from spikepropamine.tracking import On, policy_artifact, say_how_to_upload, start, use


def track_evaluation(mode: On, folder: Path) -> None:
    """Logs an evaluation that is finished, as a run of its own.

    Args:
        mode: where the run goes.
        folder: of the evaluation; the files of the run lie in `folder/wandb`.

    Raises:
        UsageError: the server cannot be reached, or refuses.
    """
    import wandb

    results = EvaluationResults.read(folder)
    description = results.description
    policies = list(results.policies)
    environment = description.environment
    about = asdict(description)
    run = start(
        mode,
        folder,
        ["evaluation", environment, description.suite_or_texts, *policies],
        name=f"evaluation of {', '.join(policies)} on {environment}",
        group=environment,
        job_type="evaluation",
        config=about,
    )
    for evaluated in description.runs:
        use(run, policy_artifact(RunFolder(folder / evaluated.folder)), mode)
    report = folder / "report.html"
    if report.is_file():
        run.log({"adaptation/report": wandb.Html(str(report))})
    for name, section in (
        ("results", all_results(results)),
        ("lesions", lesions(results)),
    ):
        columns, rows = plain_table(section)
        if rows:
            run.log({f"adaptation/{name}": wandb.Table(columns=columns, data=rows)})
    videos = [
        wandb.Video(str(video), caption=video.stem, format="mp4")
        for video in sorted((folder / "videos").glob("*.mp4"))
    ]
    if videos:
        run.log({"adaptation/videos": videos})
    run.summary.update(scores(results))
    name = f"evaluation-{environment}".replace("/", "-")
    artifact = wandb.Artifact(name, type="evaluation", metadata=about)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "wandb":
            artifact.add_dir(str(path), name=path.name)
        elif path.is_file():
            artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()
    say_how_to_upload(mode, folder)


def plain_table(section: Section) -> tuple[list[str | int], list[list[Any]]]:
    """Columns and rows of the table of a section: numbers, beside them texts with
    intervals.
    """
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    columns: list[str | int] = []
    for column, numeric in zip(table.columns, table.numeric):
        columns.append(column.title)
        if numeric:
            columns.append(f"{column.title} [95 %]")
    rows = []
    for cells in table.rows:
        row: list[Any] = []
        for cell, numeric in zip(cells, table.numeric):
            if numeric:
                row.append(order_of(cell))
            row.append(show(cell))
        rows.append(row)
    return columns, rows


def scores(results: EvaluationResults) -> dict[str, float]:
    """Numbers for the table of runs: clean return, and mean retention by policy and
    split.
    """
    numbers = {}
    for policy in results.policies:
        clean = results.returns(policy)
        numbers[f"adaptation/clean_return/{policy}"] = clean.mean
        for lesion in (None, *results.lesions):
            for split in SPLITS:
                kept = results.overall(policy, lesion, split)
                if kept is not None:
                    name = f"{policy}/{lesion or 'intact'}/{split}"
                    numbers[f"adaptation/mean_retention/{name}"] = kept.mean
    return numbers
