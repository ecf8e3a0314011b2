"""Wrong input by the thousand: each is one line that says what is wrong, or it is
accepted.

Every command, and every file that is read, by grammars of what they take; the work
itself is left out. A few of each by default; `make fuzz` takes many.
"""

import contextlib
import copy
import hashlib
import io
import json
import os
import re
import shutil
import signal
import string
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_runs import CUES, save_run

from spikepropamine.__main__ import COMMANDS, main
from spikepropamine.agents.zoo import agents
from spikepropamine.envs.perturbations import parse
from spikepropamine.policies.export import _digest, load_policy
from spikepropamine.training import sections as training

FACTOR = int(os.environ.get("FUZZ", "1"))
PATIENCE = 10  # seconds that an input may take
TEXTS = ["", " ", "nan", "1e-3", "off", "clean", "a" * 500, "ünï©ødé", "\x00",
         "../..", "run", "f.yaml", "mass=2", "obs_noise=0.2@500", "motor-signs",
         "{seed}", "{x}", "'", "<b>", "=", "robots", CUES, "Pendulum-v1", "ndp-oja",
         "mlp", "9" * 400]  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.sampled_from([0, 1, -1, 2, 10**12, 2**63, 10**400])
    | st.sampled_from([0.5, -0.5, 1e30, 1e-30, float("nan"), float("inf")])
    | st.sampled_from(TEXTS)
)  # fmt: skip
plain = st.recursive(
    scalars,
    lambda x: (
        st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), x, max_size=2)
    ),
    max_leaves=5,
)
FRAGMENTS = [*string.printable[:97], "é", "\x00", "[", "]}", "- ", ": ", "\n", "&a ",
             "*a", "<<: *a\n", "!!python/name:os.system", '"\\ud800"', "9" * 400,
             "[" * 2000, "? ", "--- ", ",", '"',
             "&a [*a, *a]\n"]  # fmt: skip


@st.composite
def edited(draw, text):
    """A text with one to three places that are gone, or something else."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 10]))
        text = text[:at] + draw(st.sampled_from(FRAGMENTS)) + text[at + gone :]
    return text


def places(content, path=()):
    """Paths to all values that are nested in others."""
    items = content.items() if isinstance(content, dict) else ()
    items = enumerate(content) if isinstance(content, list) else items
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def changed(draw, content):
    """Plain values, of which one to three are others, are called otherwise, or are
    gone.
    """
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(content))
        if not known:
            break
        *outer, last = draw(st.sampled_from(known))
        parent = content
        for key in outer:
            parent = parent[key]
        what = draw(st.integers(0, 5))
        if what < 4:
            parent[last] = draw(plain)
        elif what == 4 and isinstance(parent, dict):
            parent[draw(st.sampled_from(TEXTS))] = parent.pop(last)
        else:
            del parent[last]
    return content


def documents(texts, dump=None, read=yaml.safe_load):
    """Texts of files, changed in their values or as texts."""
    whole = st.sampled_from(texts)
    if dump is None:
        return whole.flatmap(edited)
    return whole.flatmap(edited) | whole.flatmap(lambda x: changed(read(x)).map(dump))


class Reached(BaseException):
    """The work itself would begin here."""


class Hang(BaseException):
    """It takes too long."""


def reached(*_, **__):
    raise Reached


WRITTEN: list[str] = []
ROOT: list[str] = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
PATHS = dict.fromkeys(
    ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), 1
)
PATHS |= dict.fromkeys(
    ("os.rename", "os.link", "os.symlink"), 2
)  # among an event's arguments
CACHES = re.compile(
    r"__pycache__|\.nb[ic]|numba|/fontconfig/|/matplotlib/"
    r"|^/dev/|^/proc/|/\.cache/|^\d+$"
)


def audit(event, arguments):
    """Notes what is written, made, moved or removed outside of this module's folder."""
    if not ROOT:
        return
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
    for path in map(str, arguments[: PATHS.get(event, int(bool(opened)))]):
        place = os.path.realpath(path)
        if not place.startswith(ROOT[0]) and not CACHES.search(path):
            WRITTEN.append(f"{event} {place}")


sys.addaudithook(audit)


def hang(*_):
    raise Hang


def judge(kind, case, action):
    """An action returns an exit code, or raises what is for people; anything but one
    line or success is a failure.
    """
    output = io.StringIO()
    errors = io.StringIO()
    WRITTEN.clear()
    outcome = "accepted"
    said = ""
    code = 0
    handlers = [
        signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)
    ]
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)  # of work, on a busy machine
    signal.alarm(10 * PATIENCE)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = action()
    except (Reached, SystemExit):
        pass
    except Hang:
        outcome = "hang"
        said = traceback.format_exc()[-1500:]
    except ValueError as error:  # of a function that is called by itself
        code = 2
        said = f"error: {str(error)[:2000]}"
    except BaseException:
        outcome = "traceback"
        said = traceback.format_exc()[-2500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), handlers):
            signal.signal(number, handler)
    if outcome == "accepted" and code:
        said = said or errors.getvalue().strip().rpartition("\n")[2]
        clear = "error: " in said and len(said) < 2500 and "\n" not in said
        outcome = "one line" if clear or code == 1 else "unclear"
    if WRITTEN:
        outcome = "outside"
        said = "\n".join(WRITTEN)
    assert outcome in ("accepted", "one line"), (
        f"{kind}: {outcome}\n{case!r:.3000}\n{said}"
    )


def tries(number):
    return settings(
        max_examples=number * FACTOR, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder in a folder, with runs, whose work is left out."""
    root = tmp_path_factory.mktemp("fuzz")
    work = root / "a" / "b" / "c"
    work.mkdir(parents=True)
    patch = pytest.MonkeyPatch()
    before = os.getcwd()
    patch.chdir(work)
    patch.setenv("SPIKEPROPAMINE_CACHE", str(root / "cache"))
    patch.setattr("tempfile.tempdir", str(root))
    patch.setattr("spikepropamine.training.tune.REPORTS", 10)
    for name in ("training.run.train", "training.tune._study",
                 "evaluation.command.measure", "report.evaluate._film",
                 "matrix.command.run_side_by_side",
                 "evaluation.film.video.film_run", "export.command._write_onnx",
                 "export.command._write_nir", "envs.perturbations.verify.table",
                 "export.play._serve", "report.dashboards.save",
                 "report.live.LivePage.start", "hub.upload", "hub.download",
                 "report.pages.draw"):  # fmt: skip
        patch.setattr(f"spikepropamine.{name}", reached)
    for name in ("training.run", "report.evaluate"):
        patch.setattr(f"spikepropamine.{name}.check_credentials", lambda mode: None)
    run = save_run(work, CUES, "ndp-oja").rename(work / "run")
    # the project's own are many, and a command without names would write their cards
    patch.setattr("spikepropamine.report.card.trained_runs", lambda: [run])
    (work / "f.yaml").write_text("train: {a: mass=2}")
    ROOT[:] = [os.path.realpath(root)]
    yield work, run
    ROOT.clear()
    os.chdir(before)
    patch.undo()


KINDS = ("ppo", "sac", "tqc", "evolution", "supervised")
HELP: dict[str, list[str]] = {}


def options_of(command):
    """The options that its help names."""
    if command not in HELP:
        kinds = [[]]
        if command == "train":
            task = ["--policy", "ndp-oja", "--env", CUES]
            kinds = [[*task, "--trainer.kind", kind] for kind in KINDS]
        named = set()
        for more in kinds:
            with (
                contextlib.redirect_stdout(io.StringIO()) as said,
                contextlib.suppress(SystemExit),
            ):
                main([command, *more, "--help"])
            named |= {*re.findall(r"--[a-z][\w.-]*", said.getvalue())}
        HELP[command] = sorted(named - {"--help"})
    return HELP[command]


NEEDED = {
    "train": [["--env", CUES, "--policy", "mlp"],
              ["--env", "Pendulum-v1", "--policy", "ndp-oja"],
              ["--env", "Pendulum-v1", "--policy", "snn", "--trainer.kind", "sac"],
              ["--env", "Pendulum-v1", "--policy", "lstm", "--trainer.kind", "tqc"],
              ["--env", CUES, "--policy", "mlp", "--trainer.kind", "evolution"]],
    "tune": [["--env", CUES, "--policy", "snn"],
             ["--env", "Pendulum-v1", "--policy", "gru"]],
    "evaluate": [["run"], ["x=run"]], "enjoy": [["run"]],
    "play": [["run"], []],
    "export": [["run", "--format", "onnx"], ["run", "--format", "nir"]],
    "matrix": [["cue-ppo", "--seeds", "0", "--dry-run"], ["f.yaml"]],
    "cards": [["run"]], "list": [["rules"]],
    "dashboards": [["--local", "."], ["--live", "."], []],
    "claims": [["f.yaml"], []], "push": [["run", "owner/name"]],
    "verify": [["--only", "mass"]],
}  # fmt: skip


@st.composite
def command_lines(draw, command):
    words = list(draw(st.sampled_from(NEEDED[command])))
    for _ in range(draw(st.integers(0, 3))):
        value = draw(scalars | st.lists(scalars, max_size=3))
        values = value if isinstance(value, list) else [value]
        words += [
            draw(st.sampled_from([*options_of(command), "--nothing"])),
            *map(str, values),
        ]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, max(0, len(words) - 1)))
        words[at : at + 1] = draw(
            st.sampled_from([[], ["--"], [""], ["run"], ["\x00"], ["x=y"]])
        )
    return [
        word
        for word in words
        if word not in ("--track", "online", "offline", "--import")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_lines(room, command):
    @tries(8)
    @given(command_lines(command))
    def check(words):
        judge(command, words, lambda: main([command, *words]))

    check()


@tries(80)
@given(st.sampled_from(["mass:torso=1.5 + obs_noise=0.2@500", "joint_lock:0~1@500",
                        "mass=0.5..2 | friction~0.5",
                        "obs_dropout=0.3@ramp:10..50"]).flatmap(edited))  # fmt: skip
def test_texts_of_perturbations(text):
    judge("perturbations", text, lambda: parse(text) and 0)


def written(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(UnicodeEncodeError):
        file.write_text(text, encoding="utf-8")


MATRIX = """
envs: [CueAssociation-v0]
policies: {snn: , mlp-sized: mlp --match-parameters snn}
settings: {clean: , noisy: --env-kwargs noise 0.1}
seeds: [0, 1]
train: --steps 200000
evaluate: [--episodes 20, --suite noise --lesions off]
export: [onnx]
runs: robots
keep: kept/robots
"""


YAMLS = {  # by kind: where there are some, which, and the command that reads one's own
    "configs": (".", ["locomotion", "Ant-v5", "Swimmer-v5"],
                ["train", "--env", "Swimmer-v5", "--policy", "ndp-oja"]),
    "suites": ("suites", ["mid-episode", "noise", "motor-signs", "body-damage"],
               ["evaluate", "run", "--suite", "own.yaml"]),
    "matrices": (".", [], ["matrix", "own.yaml", "--dry-run"]),
    "searches": ("search", ["default", "configured"],
                 ["tune", "--env", CUES, "--policy", "ndp-oja", "--search",
                  "own.yaml"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", YAMLS)
def test_yaml_of_the_user(room, kind, monkeypatch):
    folder, names, command = YAMLS[kind]
    texts = [(training.CONFIGS / folder / f"{name}.yaml").read_text() for name in names]
    file = Path("own.yaml")
    if kind == "matrices":
        texts = [MATRIX, MATRIX.replace("settings", "nothing")]
    elif kind == "configs":
        place = room[0].parent / "configs"
        file = place / "Swimmer-v5.yaml"
        shutil.copytree(training.CONFIGS, place)
        monkeypatch.setattr(training, "CONFIGS", place)

    @tries(15)
    @given(documents(texts, yaml.safe_dump))
    def check(text):
        written(file, text)
        judge(kind, text, lambda: main(command))

    check()


def test_the_configuration_and_curve_of_a_run(room):
    """Of one that is resumed, and in the page over all runs."""
    known = training.defaults(CUES, "mlp")
    known = replace(known, steps=100, network=agents()["mlp"].network(known.network))
    text = yaml.safe_dump(
        {"settings": known.as_dict(), "versions": {}}, sort_keys=False
    )
    rows = "time/total_timesteps,rollout/ep_rew_mean\n10,1.5\n20,2.5\n"
    folder = room[0] / "runs" / CUES / "mlp" / "seed-0"
    commands = [
        ["train", "--env", CUES, "--policy", "mlp", "--resume"],
        ["dashboards", "--local", "runs"],
    ]  # fmt: skip

    @tries(30)
    @given(
        documents([text], lambda x: yaml.safe_dump(x, sort_keys=False)),
        documents([rows]),
        st.sampled_from(commands),
    )
    def check(config, progress, words):
        written(folder / "config.yaml", config)
        written(folder / "progress.csv", progress)
        judge("a run", (config, progress), lambda: main(words))

    check()


def test_policies(room):
    _, run = room
    described = json.loads((run / "policy" / "policy.json").read_text())
    weights = (run / "policy" / "weights.safetensors").read_bytes()

    def digested(content):
        if isinstance(content, dict) and isinstance(
            content.get("metadata"), dict | None
        ):
            content["digest"] = _digest(content)
        return json.dumps(content)

    @tries(40)
    @given(
        documents([json.dumps(described)], digested, json.loads),
        st.sampled_from(["evaluate", "export"]),
    )
    def check(text, command):
        written(run / "policy" / "policy.json", text)
        more = ["--format", "nir"] if command == "export" else ["--overwrite"]
        judge("policy.json", text, lambda: main([command, "run", *more]))

    @tries(40)
    @given(st.data())
    def check_weights(data):
        content = bytearray(weights)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, 600) | st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 4))] = data.draw(
                st.binary(max_size=4)
            )
        new = copy.deepcopy(described)
        new["sha256"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
        new["digest"] = _digest(new)
        written(run / "policy" / "policy.json", json.dumps(new))
        (run / "policy" / "weights.safetensors").write_bytes(content)
        judge(
            "weights", bytes(content[:100]), lambda: load_policy(run / "policy") and 0
        )

    check()
    try:
        check_weights()
    finally:
        written(run / "policy" / "policy.json", json.dumps(described))
        (run / "policy" / "weights.safetensors").write_bytes(weights)


def test_tables_and_their_pages(room):
    results = room[0].parent / "results"
    csv = Path(__file__).parents[1] / "benchmarks" / "results" / "cue-ppo.csv"
    rows = "\n".join(csv.read_text().split("\n")[:8])
    page = "<!-- table: seeds cue-ppo -->\nx\n<!-- end -->\n"
    page += "<!-- figure: conditions cue-ppo -->\n![a](b.png)\n"

    @tries(30)
    @given(st.just(page) | edited(page), st.just(rows) | edited(rows))
    def check(text, csv):
        written(room[0] / "page.md", text)
        written(results / "cue-ppo.csv", csv)
        judge("tables and pages", (text, csv),
              lambda: main(["claims", "page.md", "--results",
                            str(results)]))  # fmt: skip

    check()
