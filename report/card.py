"""The card of a policy, made from its own evaluation; the Hugging Face Hub shows it first."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spikepropamine.common import UsageError
from spikepropamine.evaluation.judge.cost import PARTS, energy, total
from spikepropamine.folder import RESULTS, RunFolder
from spikepropamine.policies.export import load_policy
from spikepropamine.report.evaluation import Evaluation
from spikepropamine.report.page import Table, show
from spikepropamine.report.sections import results
from spikepropamine.report.verdict import verdict
from spikepropamine.words import listed, number

COLUMNS = ("condition", "severity", "network", "return", "return kept", "late accuracy")
"""Of the table of results, those that a card has."""


def card_of(run: RunFolder, evaluation: Path, name: str, repository: str | None = None) -> str:
    """Markdown, a page long, with the front matter that the Hub reads.

    Args:
        run: the run folder.
        evaluation: folder of an evaluation of it.
        name: by which `enjoy` and `evaluate` will find it.
        repository: that it is pulled from, with its evaluation beside it; None: it is there.

    Raises:
        UsageError: no evaluation there, or one of other runs, or from before more training.
    """
    found = Evaluation.read(evaluation)
    try:
        metadata = load_policy(run.policy).metadata
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    mine = [x for x in found.asked["runs"]
            if (evaluation / x["folder"]).resolve() == run.path.resolve()]  # fmt: skip
    if not mine:
        raise UsageError(f"{evaluation} is not an evaluation of {run.path}")
    policy, steps = mine[0]["policy"], mine[0]["steps"]  # as it is called there
    if steps != metadata["steps"]:
        raise UsageError(
            f"{evaluation} is of the policy after {steps:,} steps, and {run.path} has one of "
            f"{metadata['steps']:,}: evaluate it again"
        )
    own = metadata["settings"].get("imports") or ()
    more = f" --import {' '.join(own)}" if own else ""
    commands = [f"spikepropamine enjoy {name}{more}", f"spikepropamine evaluate {name}{more}"]
    if repository is not None:
        commands.insert(0, f"spikepropamine pull {repository}")
    body = _body(found, policy, metadata, commands)
    if repository is not None:
        body += "\n`evaluation/report.html` has all of it, `evaluation/videos` what was filmed.\n"
    return f"---\n{yaml.safe_dump(_front(found, policy), sort_keys=False)}---\n{body}"


def latest_evaluation(run: RunFolder) -> Path:
    """The folder of it, in the run folder.

    Raises:
        UsageError: there is none.
    """
    found = sorted(run.evaluations.glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(
            f"{run.path} has no evaluation in its folder, which its card is made from; name one "
            f"by --evaluation, or run: spikepropamine evaluate {run.path}"
        )
    return found[-1].parent


def _front(found: Evaluation, policy: str) -> dict[str, Any]:
    env = found.asked["environment"]
    spiking = any(layer["membrane_updates"] for layer in found.costs[policy]["layers"])
    kinds = ["spiking-neural-network"] * spiking + ["plasticity"] * found.is_plastic(policy)
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": env, "type": env},
        "metrics": [{"type": "mean_reward", "value": round(found.returns(policy).mean, 2)}],
    }
    return {
        "library_name": "spikepropamine",
        "pipeline_tag": "reinforcement-learning",
        "tags": [env, policy, "reinforcement-learning", *kinds],
        "model-index": [{"name": policy, "results": [result]}],
    }


def _body(
    found: Evaluation, policy: str, metadata: Mapping[str, Any], commands: Sequence[str]
) -> str:
    asked, cost, code = found.asked, found.costs[policy], "\n".join(commands)
    seeds = listed([f"seed {seed}" for seed in found.policies[policy]])
    (table,) = (block for block in results(found).blocks if isinstance(block, Table))
    places = [table.columns.index(column) for column in COLUMNS if column in table.columns]
    rows = [[show(row[i]) for i in places] for row in table.rows if row[0] == policy]
    training = metadata["settings"]
    teacher, start = training.get("teacher"), training.get("start_from")
    told = [
        f"Task `{training['env']}` with `{json.dumps(training['env_kwargs'])}`",
        "unperturbed" if training.get("perturb") is None else f"under `{training['perturb']}`",
        "its previous action and reward observed" if training.get("previous") else "",
        "told what is hidden" if training.get("reveal") else "",
        f"{metadata['steps']:,} environment steps",
        f"learned from the teacher `{teacher}`" if teacher else "",
        f"starting from `{start}`" if start else "",
    ]
    parameters = found.fact(policy, "parameters")[0] or 0
    operations = ", ".join(
        f"{part} {number(sum(total(cost, part).values()))}"  # type: ignore[arg-type]
        for part in PARTS
    )
    first, last = asked["seeds"]
    return "\n\n".join(
        [
            f"# {policy} on {asked['environment']}",
            " ".join([policy, *verdict(found, policy)]),
            f"```sh\n{code}\n```",
            "## Training",
            f"{', '.join(filter(None, told))}. `config.yaml` has every setting.",
            "## Results",
            f"Training with {seeds}, judged with `{json.dumps(asked['env_kwargs'])}` in "
            f"{last - first + 1} new episodes per condition, the same in each, with "
            f"{'deterministic' if asked['deterministic'] else 'sampled'} actions; 95 % intervals.",
            _markdown([table.columns[i] for i in places], rows),
            "## Cost",
            f"{parameters:,.0f} trainable parameters of the actor. Operations per environment "
            f"step by NeuroBench's definitions: {operations}; {number(energy(total(cost)) / 1000)} "
            "nJ of arithmetic alone in 45 nm (Horowitz 2014), which is no measurement of any chip.",
        ]
    ) + "\n"  # fmt: skip


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
