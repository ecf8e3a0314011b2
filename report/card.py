"""The card of a policy, made from its own evaluation; the Hugging Face Hub shows it first."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.lesions import layout_of
from spikepropamine.evaluation.judge.cost import PARTS, energy, total
from spikepropamine.evaluation.schema import CLEAN_KEY, Score
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import Missing, read_json
from spikepropamine.report.reading import has_no_plasticity, lesion_name
from spikepropamine.report.verdict import verdict
from spikepropamine.report.words import number, percent, with_interval


def card_of(run: RunFolder, evaluation: Path, name: str, repository: str | None = None) -> str:
    """Markdown with the front matter that the Hub reads.

    Args:
        run: the run folder.
        evaluation: folder of an evaluation of it.
        name: by which `enjoy` and `evaluate` will find it.
        repository: that it is pulled from, with its evaluation beside it; None: it is there.

    Raises:
        UsageError: no evaluation there, or one of other runs, or from before more training.
    """
    try:
        summary = read_json(evaluation / "summary.json", inside=evaluation)
    except Missing as error:
        raise UsageError(f"there is no evaluation in {evaluation}") from error
    try:
        loaded = load_policy(run.policy)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    metadata = loaded.metadata
    try:
        judged = {
            (evaluation / folder).resolve(): (called, steps)
            for called, part in summary["policies"].items()
            for folder, steps in zip(part["runs"], part["steps_trained"])
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{evaluation / 'summary.json'} is of no evaluation") from error
    if run.path.resolve() not in judged:
        raise UsageError(f"{evaluation} is not an evaluation of {run.path}")
    policy, steps = judged[run.path.resolve()]  # as it is called there
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
    try:
        body = _body(summary, policy, metadata, commands, layout_of(loaded) is not None)
    except KeyError as error:
        raise UsageError(f"{evaluation} is of an older version; evaluate the run again") from error
    if repository is not None:
        body += "\n`evaluation/report.html` has all of it, `evaluation/videos` what was filmed.\n"
    return _front(summary, policy, layout_of(loaded) is not None) + body


def latest_evaluation(run: RunFolder) -> Path:
    """The folder of it, in the run folder.

    Raises:
        UsageError: there is none.
    """
    found = sorted(run.evaluations.glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(
            f"{run.path} has no evaluation in its folder, which its card is made from; name one "
            f"by --evaluation, or run: spikepropamine evaluate {run.path}"
        )
    return found[-1].parent


def _acted(settings: Any) -> str:
    return "" if settings["deterministic"] else "actions sampled, in the place of the likeliest; "


def _front(summary: Any, name: str, spiking: bool) -> str:
    env = summary["settings"]["env"]
    clean = summary["results"][name][CLEAN_KEY]
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": env, "type": env},
        "metrics": [{"type": "mean_reward", "value": round(clean["return"]["mean"], 2)}],
    }
    kinds = ["spiking-neural-network"] if spiking else []
    kinds += [] if has_no_plasticity(summary, name) else ["plasticity"]
    about = {
        "library_name": "spikepropamine",
        "pipeline_tag": "reinforcement-learning",
        "tags": [env, name, "reinforcement-learning", *kinds],
        "model-index": [{"name": name, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n"


def _body(
    summary: Any, name: str, metadata: Mapping[str, Any], commands: Sequence[str], spiking: bool
) -> str:
    settings, policy = summary["settings"], summary["policies"][name]
    cost = summary["cost"][name]
    seeds = ", ".join(map(str, policy["training_seeds"]))
    kept = [
        [name, *[_score(result.get(part), part != "return") for part in RESULTS]]
        for name, result in summary["results"][name].items()
    ]
    lesions = [
        [lesion_name(lesion), intact, _score(part["paired_difference"])]
        for lesion, parts in summary["lesions"].get(name, {}).items()
        for intact, part in parts.items()
    ]
    counts = [
        [part, number(count["accumulates"]), number(count["multiply_accumulates"])]
        for part, count in [(part, total(cost, part)) for part in PARTS]
    ]
    training = metadata["settings"]
    chosen = {k: training[k] for k in ("network", "trainer") if k in training}
    if not spiking and "network" in chosen:  # of which only the widths concern it
        chosen["network"] = {"hidden": training["network"]["hidden"]}
    sections = [
        f"# {name} on {settings['env']}",
        " ".join([name, *verdict(summary, name)]),
        _code(*commands),
        "## Training",
        _training(metadata),
        f"Training seeds judged: {seeds}; {policy['actor_parameters']:,} learned numbers in the "
        "actor.",
        f"<details><summary>Settings</summary>\n\n```yaml\n{yaml.safe_dump(chosen)}```\n</details>",
        "## Results",
        f"Judged with `{json.dumps(settings['env_kwargs'])}`, {settings['episodes']} new episodes "
        f"per condition, the same in each; {_acted(settings)}95 % intervals. "
        f"Random actions return {number(policy['random_return'])}.",
        _table(["condition", *RESULTS.values()], kept),
    ]
    if lesions:
        sections += [
            "What plasticity causes: the same weights in the same episodes, lesioned.",
            _table(["lesion", "condition", "return as trained minus lesioned"], lesions),
        ]
    sparsity = cost["activation_sparsity"]
    sections += [
        "## Cost",
        "Per environment step, counted from spikes by NeuroBench's definitions.",
        _table(["", "accumulates", "multiply-accumulates"], counts),
        f"{number(cost['parameter_bytes'] / 1000)} kB of weights, "
        f"{number(cost['state_bytes'] / 1000)} kB of state"
        f"{'' if sparsity is None else f', {percent(sparsity)} of activations silent'}; "
        f"{number(energy(total(cost)) / 1000)} nJ of arithmetic alone in 45 nm (Horowitz 2014), "
        "which is no measurement of any chip.",
    ]
    return "\n\n".join(sections) + "\n"


RESULTS = {"return": "return", "retention": "return kept", "late_accuracy": "late accuracy"}


def _training(metadata: Mapping[str, Any]) -> str:
    """In which task, and by what, a policy was trained."""
    settings = metadata["settings"]
    text = f"Task `{settings['env']}` with `{json.dumps(settings['env_kwargs'])}`, "
    perturb = settings.get("perturb")
    text += "unperturbed" if perturb is None else f"under `{perturb}`"
    if settings.get("previous"):
        text += ", its previous action and reward observed"
    if settings.get("reveal"):
        text += ", told what is hidden"
    text += f"; {metadata['steps']:,} environment steps"
    teacher, start = settings.get("teacher"), settings.get("start_from")
    text += "" if teacher is None else f", learned from the teacher `{teacher}`"
    return text + ("." if start is None else f", starting from `{start}`.")


def _score(score: Score | None, as_percent: bool = False) -> str:
    return "" if score is None else with_interval(score, as_percent)


def _code(*lines: str) -> str:
    return "```sh\n" + "\n".join(lines) + "\n```"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
