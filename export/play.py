"""`spikepropamine play`: the page on which you pull the plug of a policy's plasticity.

It is served on this machine alone, until the command ends. The page steps Gymnasium's
robots and the cue tasks by itself; any other task is stepped by Python and shown there.
"""

import shutil
import tempfile
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spikepropamine.common import Parser, UsageError, bad_input, require
from spikepropamine.envs.perturbations.notation import Schedule, Term, parse
from spikepropamine.envs.rendering import choose_backend
from spikepropamine.evaluation.ask.conditions import Task, conditions_of
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.export.built import ASSETS, DATA, INDEX
from spikepropamine.export.enjoy import has_display
from spikepropamine.folder import find, name_of, plain_name
from spikepropamine.reading import read_bytes, read_json
from spikepropamine.server import Contents, Server, files_below
from spikepropamine.versions import add_import, import_modules

if TYPE_CHECKING:
    from spikepropamine.export.live import LiveServer

PORT_HELP = (
    "0: any that is free (%(default)s); a task that Python steps has the next one, too"
)


def main(arguments: Sequence[str], program: str = "spikepropamine play") -> int:
    """Serves the page until it is interrupted; returns the exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = "folder of a run, or a name in trained/ (the documentation's policies)"
    add("run", metavar="RUN|NAME", nargs="?", help=text)
    add("--perturb", metavar="TEXT", help='from the start, as "motor_signs=63"')
    add("--port", type=int, default=0, help=PORT_HELP)
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
    contents: dict[str, Path | bytes] = files_below(ASSETS)
    if options.run is None:
        return _serve(contents, options.port)
    choose_backend()  # before MuJoCo is imported, which the user's modules may do
    import_modules(options.imports)
    with bad_input():
        (run,), task = load_runs([find(options.run)])
        if options.perturb is not None:
            conditions_of(task, None, [options.perturb], [])  # that it applies
    added = _page_of(run, task, options.perturb)
    if added is not None:
        return _serve(contents | added, options.port)
    require("websockets", "play", "a task that Python steps")
    from spikepropamine.export.live import LiveServer
    from spikepropamine.export.page import index_of

    port = options.port + 1 if options.port else 0
    with closing(LiveServer(run, task, options.perturb, port)) as live:
        contents[f"{DATA}/{INDEX}"] = index_of([], live=live.port)
        return _serve(contents, options.port, live)


def _serve(contents: Contents, port: int, live: "LiveServer | None" = None) -> int:
    with Server(contents, port, None if live is None else live.port) as server:
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


def _page_of(run: Run, task: Task, text: str | None) -> dict[str, bytes] | None:
    """What the documentation's page also needs, by path, to begin with this policy.

    Args:
        run: the policy.
        task: of it.
        text: of the perturbations from the start; None: there are none.

    Returns:
        None where the page cannot step the task, or do what the text says.
    """
    from spikepropamine.export.page import index_of

    terms = [] if text is None else _start_terms(text)
    if terms is None:
        return None
    shown = read_json(ASSETS / DATA / INDEX)["policies"]
    # of a run elsewhere the whole path, so that it is no built one's
    place = plain_name(name_of(run.folder.resolve()))
    added: dict[str, bytes] = {}
    if place not in shown:
        written = _data_of(run, task, place)
        if written is None:
            return None
        added |= written
    others = [other for other in shown if other != place]
    added[f"{DATA}/{INDEX}"] = index_of([place, *others], perturb=terms)
    return added


def _data_of(run: Run, task: Task, place: str) -> dict[str, bytes] | None:
    """What the page reads of a policy, by path; None where it cannot step the task."""
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


def _start_terms(text: str) -> list[dict[str, Any]] | None:
    """The terms of a text as the page takes them; None where it does not have one."""
    alternatives = parse(text)
    if len(alternatives) != 1:
        return None  # an episode draws one of them
    terms = []
    for term in alternatives[0]:
        taken = _start_term(term)
        if taken is None:
            return None
        terms.append(taken)
    return terms


def _start_term(term: Term) -> dict[str, Any] | None:
    """A term as the page takes it, where it holds from the first step on; else None."""
    from spikepropamine.export.page import IN_PAGE, OF_A_MOTOR

    family = term.family
    is_drawn = term.low != term.high or term.context_set is not None
    is_severity_of_context = bool(family.contexts) and term.severities
    if family.name not in IN_PAGE or is_drawn or is_severity_of_context:
        return None
    if term.schedule != Schedule():
        return None
    target = None if term.target == "all" else term.target
    if target is None and family.name == "joint_lock":
        return None  # it means the first joint
    if target is not None:
        is_number = target.lstrip("-").isdecimal()
        if is_number or family.name not in OF_A_MOTOR:
            return None
    value = family.value(term.low) if term.severities else term.low
    return {"family": family.name, "target": target, "value": value}
