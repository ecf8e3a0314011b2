"""`spikepropamine play`: the page on which you pull the plug of a policy's plasticity.

It is served on this machine alone, until the command ends. The page steps Gymnasium's
robots and the cue tasks by itself; any other task is stepped by Python and shown there.
"""

import json
import shutil
import tempfile
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from spikepropamine.common import Parser, UsageError, bad_input, require
from spikepropamine.envs.perturbations.notation import Schedule, parse
from spikepropamine.envs.rendering import choose_backend
from spikepropamine.evaluation.ask.conditions import Task, conditions_of
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.export.enjoy import has_display
from spikepropamine.export.server import (
    ASSETS,
    DATA,
    INDEX,
    Contents,
    Server,
    files_below,
)
from spikepropamine.folder import find, name_of, plain_name
from spikepropamine.reading import read_bytes, read_json
from spikepropamine.versions import add_import, import_modules


def main(arguments: Sequence[str], program: str = "spikepropamine play") -> int:
    """Serves the page until it is interrupted; returns the exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = "folder of a run, or one in trained/ (those of the documentation)"
    add("run", metavar="RUN|NAME", nargs="?", help=text)
    add("--perturb", metavar="TEXT", help='from the start, as "motor_signs=63"')
    add("--port", type=int, default=0, help="0: any that is free (%(default)s)")
    add_import(parser)
    options = parser.parse_args(arguments)
    if options.run is None and options.perturb is not None:
        raise UsageError("--perturb needs a RUN or NAME")
    torch.set_num_threads(1)
    if not (ASSETS / "index.html").is_file():
        raise UsageError(
            "the page is not built here: `make page` in a checkout builds it, with "
            "Node 20"
        )
    import_modules(options.imports)
    contents: dict[str, Path | bytes] = files_below(ASSETS)
    if options.run is None:
        return _serve(contents, options.port, None)
    choose_backend()  # before MuJoCo is imported
    from spikepropamine.export.page import catalogue

    shown = read_json(ASSETS / DATA / INDEX)["policies"]
    with bad_input():
        (run,), task = load_runs([find(options.run)])
        if options.perturb is not None:
            conditions_of(task, None, [options.perturb], [])  # that it applies
    terms = _in_page(options.perturb)
    place = plain_name(name_of(run.folder))
    added = None
    if terms is not None:
        added = {} if place in shown else _data_of(run, task, place)
    if added is None:
        return _serve_live(contents, options, run, task)
    index: dict[str, Any] = {
        "policies": [place, *(other for other in shown if other != place)],
        "catalogue": catalogue(),
        "perturb": terms,
    }
    contents |= added
    contents[f"{DATA}/{INDEX}"] = json.dumps(index).encode()
    return _serve(contents, options.port, None)


def _data_of(run: Run, task: Task, place: str) -> dict[str, bytes] | None:
    """What the page reads of a policy, by path; None where it cannot step the task by
    itself.
    """
    from spikepropamine.export.page import write_policy

    folder = Path(tempfile.mkdtemp())
    try:
        if not write_policy(folder, run, task, f"{run.environment}, {run.name}"):
            return None
        return {
            f"{DATA}/{place}/{name}": read_bytes(folder / name)
            for name in files_below(folder)
        }
    finally:
        shutil.rmtree(folder)


def _in_page(text: str | None) -> list[dict[str, Any]] | None:
    """The terms of a text as the page takes them, from the first step on; None where it
    cannot.
    """
    if text is None:
        return []
    from spikepropamine.export.page import IN_PAGE, OF_A_MOTOR

    alternatives = parse(text)
    if len(alternatives) != 1:
        return None
    terms = []
    for term in alternatives[0]:
        fixed = term.low == term.high and term.context_set is None
        if not fixed or term.schedule != Schedule() or term.family.name not in IN_PAGE:
            return None
        if term.family.contexts and term.severities:
            return None
        target = None if term.target == "all" else term.target
        numbered = target is not None and target.lstrip("-").isdecimal()
        if numbered or (target is not None and term.family.name not in OF_A_MOTOR):
            return None
        if target is None and term.family.name == "joint_lock":
            return None  # it means the first joint
        value = term.family.value(term.low) if term.severities else term.low
        terms.append({"family": term.family.name, "target": target, "value": value})
    return terms


def _serve_live(
    contents: dict[str, Path | bytes], options: Any, run: Run, task: Task
) -> int:
    require("websockets", "play", "a task that Python steps")
    from spikepropamine.export.live import LiveServer
    from spikepropamine.export.page import catalogue

    live = LiveServer(run, task, options.perturb)
    index = {"policies": [], "catalogue": catalogue(), "live": live.port}
    contents[f"{DATA}/{INDEX}"] = json.dumps(index).encode()
    with closing(live):
        return _serve(contents, options.port, live)


def _serve(contents: Contents, port: int, live: Any) -> int:
    socket_port = None if live is None else live.port
    with Server(contents, port, socket_port) as server:
        if live is not None:
            live.allow(server.address)
        print(f"{server.address} (Ctrl-C ends it)", flush=True)
        if has_display():
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
