"""An evaluation as a run in Weights & Biases: report, tables, videos and all of its files."""

from pathlib import Path
from typing import Any

from spikepropamine.common import CLEAN_KEY
from spikepropamine.folder import RunFolder
from spikepropamine.report.evaluation import SPLITS, Evaluation
from spikepropamine.report.html import lesions, results
from spikepropamine.report.page import Section, Table, order_of, show
from spikepropamine.tracking import On, policy_artifact, say_how_to_upload, start, use


def track_evaluation(mode: On, folder: Path) -> None:
    """Logs an evaluation that is finished, as a run of its own whose files lie in `folder/wandb`.
    Raises UsageError: the server cannot be reached, or refuses.
    """
    import wandb

    found = Evaluation.read(folder)
    asked, policies = found.asked, list(found.policies)
    environment = asked["environment"]
    run = start(
        mode,
        folder,
        ["evaluation", environment, asked["suite"] or "perturb", *policies],
        name=f"evaluation of {', '.join(policies)} on {environment}",
        group=environment,
        job_type="evaluation",
        config=asked,
    )
    for evaluated in asked["runs"]:
        use(run, policy_artifact(RunFolder(folder / evaluated["folder"])), mode)
    if (report := folder / "report.html").is_file():
        run.log({"adaptation/report": wandb.Html(str(report))})
    for name, section in (("results", results(found)), ("lesions", lesions(found))):
        columns, rows = plain_table(section)
        if rows:
            run.log({f"adaptation/{name}": wandb.Table(columns=columns, data=rows)})
    if videos := sorted((folder / "videos").glob("*.mp4")):
        some = [
            wandb.Video(str(video), caption=video.stem, format="mp4")
            for video in videos
        ]
        run.log({"adaptation/videos": some})
    run.summary.update(scores(found))
    name = f"evaluation-{environment}".replace("/", "-")
    artifact = wandb.Artifact(name, type="evaluation", metadata=asked)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "wandb":
            artifact.add_dir(str(path), name=path.name)
        elif path.is_file():
            artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()
    say_how_to_upload(mode, folder)


def plain_table(section: Section) -> tuple[list[str | int], list[list[Any]]]:
    """Columns and rows of the table of a section: numbers, beside them texts with intervals."""
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    columns: list[str | int] = []
    for name, numeric in zip(table.columns, table.numeric):
        columns += [name, f"{name} [95 %]"] if numeric else [name]
    rows = [
        [part for cell, numeric in zip(row, table.numeric)
         for part in ([order_of(cell), show(cell)] if numeric else [show(cell)])]
        for row in table.rows
    ]  # fmt: skip
    return columns, rows


def scores(found: Evaluation) -> dict[str, float]:
    """Numbers for the table of runs: clean return, and mean retention by policy and split."""
    numbers = {}
    for policy in found.policies:
        numbers[f"adaptation/clean_return/{policy}"] = found.returns(
            policy, CLEAN_KEY
        ).mean
        for lesion in (None, *found.lesions):
            for split in SPLITS:
                if (kept := found.overall(policy, lesion, split)) is not None:
                    name = f"{policy}/{lesion or 'intact'}/{split}"
                    numbers[f"adaptation/mean_retention/{name}"] = kept.mean
    return numbers
