"""What to try with the policies of an evaluation that have not learned."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY, UsageError
from spikepropamine.evaluation.description import (
    DescribedRun,
    Description,
    read_description,
)
from spikepropamine.folder import ASKED, DESCRIPTION, RESULTS, RunFolder
from spikepropamine.reading import read_json
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.training.advice import Facts, advice, facts_of, nothing


def advice_by_policy(folder: Path, results: EvaluationResults) -> dict[str, list[str]]:
    """What to try, by policy: of those of which a run has not learned, from what is on
    file of the first such run.

    Args:
        folder: of the evaluation.
        results: in it.

    Returns:
        Up to three sentences for each policy; none where the run is not there any more.
    """
    sentences = {}
    for policy in results.policies:
        seeds = zip(results.policies[policy], results.learned(policy))
        failed = [seed for seed, has_learned in seeds if has_learned is False]
        if failed:
            sentences[policy] = _of_run(folder, results, policy, failed[0])
    return sentences


def _of_run(
    folder: Path, results: EvaluationResults, policy: str, seed: int
) -> list[str]:
    run = next(
        run
        for run in results.description.runs
        if (run.policy, run.seed) == (policy, seed)
    )
    facts = _facts(folder, results, run)
    return [] if facts is None else advice(facts)


def _facts(folder: Path, results: EvaluationResults, run: DescribedRun) -> Facts | None:
    """What is on file of a run and of its evaluations; None: the run is not there."""
    path = _run_folder(folder, run)
    try:
        policy = RunFolder(path).policy
        metadata = read_json(policy / DESCRIPTION, inside=path)["metadata"]
        facts = facts_of(path, metadata["settings"], run.steps)
    except (UsageError, KeyError, TypeError, AttributeError):
        return None
    description = results.description
    index = results.policies[run.policy].index(run.seed)
    returns = results.values(run.policy, CLEAN_KEY, "return")[index, :, 0]
    returns = returns[np.isfinite(returns)]
    sampled = _sampled_returns(folder, description, run)
    facts = replace(facts, deterministic=returns, sampled=sampled)
    if not description.deterministic:  # the returns are those of sampled actions
        facts = replace(facts, deterministic=nothing())
    if description.own_limit:
        facts = replace(facts, horizon=description.horizon)
    return facts


def _run_folder(folder: Path, run: DescribedRun) -> Path:
    """The folder of a run, as short as it can be named from here."""
    path = Path(os.path.normpath(folder / run.folder))
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _sampled_returns(
    folder: Path, description: Description, run: DescribedRun
) -> np.ndarray:
    """Clean returns of the same run with sampled actions, of an evaluation beside this
    one; empty where there is none.
    """
    for file in sorted(folder.parent.glob(f"*/{ASKED}")):
        try:
            other = read_description(file.parent)
            if other.deterministic or not _has_run(file.parent, other, folder, run):
                continue
            if (other.environment, other.env_kwargs, other.horizon) != (
                description.environment,
                description.env_kwargs,
                description.horizon,
            ):
                continue
            rows = table.where(
                table.read(file.with_name(RESULTS)),
                measure="return",
                condition=CLEAN_KEY,
                policy=run.policy,
                seed=run.seed,
            )
        except (UsageError, ValueError):
            continue  # it is damaged, which is for its own readers to say
        return rows["value"].to_numpy()
    return nothing()


def _has_run(
    of_other: Path, other: Description, folder: Path, run: DescribedRun
) -> bool:
    """Whether another evaluation has a run, after as many steps of training."""
    return any(
        (same.policy, same.seed, same.steps) == (run.policy, run.seed, run.steps)
        and _run_folder(of_other, same) == _run_folder(folder, run)
        for same in other.runs
    )
