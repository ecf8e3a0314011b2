"""`spikepropamine export`: a trained policy as a file for other places."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from spikepropamine.common import (
    UNSEEN_SEED,
    Parser,
    UsageError,
    bad_input,
    require,
    whole_file,
)
from spikepropamine.evaluation.ask.conditions import CLEAN, Task, make_env
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.folder import check_writable, find, refuse_link, results_folder
from spikepropamine.versions import add_import, import_modules, versions

FILES = {
    "onnx": "policy.onnx",
    "nir": "policy.nir",
    "rsl_rl": "policy-rsl_rl.onnx",
}
FORMATS = tuple(FILES)


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The options of a command line.

    Args:
        arguments: of the command line, without the program.
        program: how the command is called in messages.
    """
    parser = parser_of(program, __doc__, "of the check")
    text = (
        "onnx: the whole policy, plasticity included, for ONNX Runtime; nir: the "
        "spiking network without plasticity, for neuromorphic hardware and its "
        "simulators; rsl_rl: the whole policy, with the inputs and outputs of an LSTM "
        "of rsl_rl, for runtimes of robots"
    )
    parser.add_argument("--format", choices=FORMATS, required=True, help=text)
    text = f"(RUN/exports/ with {', '.join(FILES.values())})"
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], program: str = "spikepropamine export") -> int:
    """Writes the file, once it has been found to do what the policy does; returns the
    exit code.
    """
    torch.set_num_threads(1)
    options = parse(arguments, program)
    run, task = run_of(options)
    exports = results_folder(run.folder).exports
    if options.out is None:
        refuse_link(exports, "--out")
    out = options.out or exports / FILES[options.format]
    check_writable(out.parent, "--out")
    network: Any = getattr(run.policy.policy, "network", None)
    drawn = network is not None and network.config.fresh_weights == "random"
    if drawn:
        network.keep_weights()
    write = _write_nir if options.format == "nir" else _write_onnx
    with bad_input():
        env = make_env(task, CLEAN, run.previous, run.revealed)
        with closing(env), whole_file(out) as part:
            said = write(part, run, task, env, options)
    if drawn:
        said += "; its fixed weights are those of one episode of the training"
    print(f"{out}: {said}")
    return 0


def parser_of(program: str, description: str | None, seed: str) -> Parser:
    """A command line for a run and the seed of an episode.

    Args:
        program: how the command is called in messages.
        description: for --help.
        seed: what the seed is for, for --help.
    """
    parser = Parser(program, description=description, allow_abbrev=False)
    parser.add_argument(
        "run", metavar="RUN|NAME", help="folder of a run, or one in trained/"
    )
    parser.add_argument(
        "--seed", type=int, default=UNSEEN_SEED, help=f"{seed} (%(default)s)"
    )
    add_import(parser)
    return parser


def run_of(options: argparse.Namespace) -> tuple[Run, Task]:
    """The run that `parser_of` has read, and its task. Raises UsageError: there is
    none, or an episode with that seed is not for it.
    """
    import_modules(options.imports)
    if options.seed < 0:
        raise UsageError("--seed must be 0 or more")
    with bad_input():
        (run,), task = load_runs([find(options.run)])
    return run, task


ONNX_CALL = (
    "One call is one environment step; zero the state where an episode starts. "
    "Observations are taken as the environment gives them; the action is the "
    "likeliest one."
)
NIR_CALL = (
    "An environment step is `ticks` steps of the graph, all on the same observation, "
    "choices as one-hot; zero the membrane potentials where an episode starts. The "
    "output after the last of them is what `action` says."
)


def model_card(run: Run, task: Task, call: str) -> dict[str, Any]:
    """What a file tells about the policy in it.

    Args:
        run: of the policy.
        task: the plain task, without noise and help in training.
        call: how the policy is called, in sentences.
    """
    settings = run.policy.metadata["settings"]
    return {
        "summary": f"{run.name} on {run.environment}, trained for {run.steps} steps "
        f"(seed {run.seed}) with spikepropamine. {call}",
        "task": {
            "env": run.environment,
            "env_kwargs": dict(task.arguments),
            "previous": run.previous,
            "revealed": run.revealed,
        },
        "policy": run.name,
        "network": settings.get("network"),
        "training": {"seed": run.seed, "steps": run.steps, "perturb": run.perturb},
        "versions": versions(),
    }


def _write_onnx(
    part: Path, run: Run, task: Task, env: gym.Env, options: argparse.Namespace
) -> str:
    for module in ("onnx", "onnxruntime"):
        require(module, "export", f"--format {options.format}")
    from spikepropamine.export import onnx_file, rsl_rl_file

    card = model_card(run, task, ONNX_CALL)
    player = onnx_file.OnnxPolicy
    if options.format == "onnx":
        contents = onnx_file.to_onnx(run.policy, card, env.observation_space)
    else:
        player = rsl_rl_file.RslRlPolicy
        contents = rsl_rl_file.to_rsl_rl(run.policy, card)
    check = onnx_file.check(contents, run.policy, env, options.seed, player=player)
    part.write_bytes(contents)
    size = f"{len(contents) / 1000:.0f} kB"
    compared = "actions are the same"
    if check.difference > 0.0:
        compared = f"actions differ by {check.difference:.1e} at most"
    if check.apart:
        compared += (
            f", and in {check.apart} steps rounding decided whether a neuron fires"
        )
    return f"{size}, {check.steps} steps beside the policy: {compared}"


def _write_nir(
    part: Path, run: Run, task: Task, env: gym.Env, options: argparse.Namespace
) -> str:
    require("nir", "export", "--format nir")
    import nir

    from spikepropamine.export import nir_file

    deployed: Any = run.policy
    graph = nir_file.to_nir(deployed, model_card(run, task, NIR_CALL))
    spikes = nir_file.check(graph, deployed, env, options.seed)
    nir.write(part, graph)
    said = f"all {spikes:,} spikes of {nir_file.STEPS} steps are those of the policy"
    if any(layer.spec.plastic for layer in deployed.policy.network.layers):
        said += ", without plasticity, which NIR has only as metadata"
    return said
