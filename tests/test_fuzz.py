"""Wrong input by the hundred: each is one line that says what is wrong, or it is accepted.

A few of each kind by default; `make fuzz` takes many, and prints how many there were.
"""

import contextlib
import copy
import io
import os
import random
import string
import traceback
from collections import Counter

import pytest
import yaml
from saved_runs import CUES, save_run

from spikepropamine.agents.zoo import agents, build
from spikepropamine.common import UsageError
from spikepropamine.envs.perturbations import parse, suites
from spikepropamine.report import evaluate as evaluation
from spikepropamine.training import command as training
from spikepropamine.training import settings as settings_module
from spikepropamine.training.environments import make_envs

FACTOR = int(os.environ.get("FUZZ", "1"))
"""How many times as many as by default."""

NASTY = [
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1.5, 10**12, -(10**12), 2**63, 1e30, -1e30, 1e-30,
    float("nan"), float("inf"), -float("inf"), "", " ", "none", "None", "nan", "inf", "1e-3",
    "2e-3", "abc", "true", "off", "cuda", "0x10", "1_000", "ünï©ødé", "\x00", "../..", "/dev/null",
    "a" * 500, "mass=2", "noise", "off",
    [], [1], [0], [-1], [1, 2, 3], ["a"], [[1]], [None], {}, {"a": 1},
    {"a": {"b": [1]}}, {1: 2},
]  # fmt: skip
TASKS = ["CueAssociation-v0", "Pendulum-v1", "CartPole-v1"]
COUNTS: dict[str, Counter] = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    outcomes = ["accepted", "one line", "unclear", "traceback"]
    print(f"\n\n{'input':22}{'tried':>10}" + "".join(f"{name:>10}" for name in outcomes))
    for name, found in COUNTS.items():
        counts = [found.total(), *(found[outcome] for outcome in outcomes)]
        print(f"{name:22}" + "".join(f"{count:10}" for count in counts))


class Reached(Exception):
    """The work itself would begin here."""


def judge(kind, case, action, refusals=(UsageError, ValueError)):
    """Counts what became of an action; anything but a refusal in one line is a failure."""
    count = COUNTS.setdefault(kind, Counter())
    try:
        with contextlib.suppress(Reached):
            action()
        count["accepted"] += 1
    except refusals as error:
        message = str(error)
        if not message or "\n" in message or len(message) > 2000:
            count["unclear"] += 1
            return f"{case}\n{message}"
        count["one line"] += 1
    except Exception:
        count["traceback"] += 1
        return f"{case}\n{traceback.format_exc()[-1500:]}"
    return None


def check(failures):
    failures = [failure for failure in failures if failure]
    assert not failures, f"{len(failures)} failures:\n" + "\n\n".join(failures[:20])


def prepared(settings, film=None):
    """All of a training that comes before its first step."""
    venv = make_envs(settings)
    try:
        build(settings.policy, venv, settings.network, settings.trainer, settings.seed)
    except (AssertionError, ValueError) as error:
        raise UsageError(str(error)) from error
    finally:
        venv.close()


def command(main, arguments):
    """Runs a command line; a refusal is raised, as what was printed."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(arguments, "program")
    if code:
        raise UsageError(errors.getvalue().removesuffix("\n"))


def options():
    """Every option of a training, by its name."""
    parser = settings_module._parser(
        settings_module.defaults("CartPole-v1", "ndp-oja"), "program", "ndp-oja", False
    )
    return [name for action in parser._actions for name in action.option_strings
            if name not in ("-h", "--help")]  # fmt: skip


def words(value):
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def test_argument_lists_of_training(monkeypatch, tmp_path):
    chance = random.Random(1)
    monkeypatch.setattr(training, "train", prepared)
    known = [name for name in options() if name not in ("--track", "--env", "--policy")]
    failures = []
    for _ in range(60 * FACTOR):
        arguments = ["--env", chance.choice(TASKS), "--policy", chance.choice(list(agents()))]
        arguments += ["--runs", str(tmp_path)]
        for _ in range(chance.randint(1, 2)):
            name = chance.choice(known)
            if chance.random() < 0.2:
                name = mutated(name, chance)
            arguments += [name, *words(chance.choice(NASTY))]
        if chance.random() < 0.2:
            arguments.pop(chance.randrange(len(arguments)))
        failures.append(judge(
            "arguments of train", arguments, lambda a=arguments: command(training.main, a)
        ))  # fmt: skip
    check(failures)


def test_argument_lists_of_evaluation(tmp_path, monkeypatch):
    chance = random.Random(2)
    save_run(tmp_path, CUES, "ndp-oja")

    def reached(*arguments):
        raise Reached

    monkeypatch.setattr(evaluation, "evaluate", reached)
    monkeypatch.setattr(evaluation, "check_credentials", lambda mode: None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    names = ["--suite", "--perturb", "--lesions", "--conditions", "--episodes", "--seed",
             "--horizon-factor", "--workers", "--out", "--import"]  # fmt: skip
    failures = []
    for _ in range(40 * FACTOR):
        run = chance.choice(["empty", "file", "missing", "\x00", *[f"{CUES}/ndp-oja/seed-0"] * 8])
        arguments = [str(tmp_path / run)]
        for _ in range(chance.randint(1, 3)):
            arguments += [chance.choice(names), *words(chance.choice(NASTY))]
        failures.append(judge(
            "arguments of evaluate", arguments, lambda a=arguments: command(evaluation.main, a)
        ))  # fmt: skip
    check(failures)


def places(content, path=()):
    """Paths to all values of nested mappings."""
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))


def changed(content, chance):
    """A copy with one to three values, names or parts that are wrong, or happen to be right."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        *outer, last = chance.choice([path for path in places(content) if path] or [("all",)])
        parent = content
        for key in outer:
            parent = parent[key]
        if not isinstance(parent, dict) or last not in parent:
            continue
        what = chance.random()
        if what < 0.7:
            parent[last] = copy.deepcopy(chance.choice(NASTY))
        elif what < 0.85:
            parent[mutated(str(last), chance)] = parent.pop(last)
        else:
            parent.pop(last)
    return content


def mutated(text, chance):
    """A text with one to three characters less, more, or others."""
    letters = list(text)
    for _ in range(chance.randint(1, 3)):
        place = chance.randint(0, len(letters))
        letters[place : place + chance.randint(0, 1)] = chance.choice(
            [*string.printable, "é", "", "", "\x00"]
        )
    return "".join(letters)


def test_configurations(monkeypatch, tmp_path):
    chance = random.Random(3)
    files = sorted(settings_module.CONFIGS.glob("*.yaml"))
    texts = {file.name: file.read_text() for file in files}
    monkeypatch.setattr(settings_module, "CONFIGS", tmp_path)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    names = [name for name in texts if name[0].isupper() and not name.startswith("Humanoid")]
    failures = []
    for number in range(60 * FACTOR):
        name = chance.choice(names)
        target = chance.choice([name, name, "locomotion.yaml"])
        if number % 4:
            text = yaml.safe_dump(changed(yaml.safe_load(texts[target]), chance))
        else:
            text = mutated(texts[target], chance)
        (tmp_path / target).write_text(text)
        env, policy = name.removesuffix(".yaml"), chance.choice(["mlp", "snn", "ndp-oja", "lstm"])

        def action(env=env, policy=policy):
            settings_module.validated(settings_module.defaults(env, policy))

        failures.append(judge("configurations", (target, text), action))
        (tmp_path / target).write_text(texts[target])
    check(failures)


def test_suites(monkeypatch, tmp_path):
    chance = random.Random(4)
    texts = [suites.SUITES / f"{name}.yaml" for name in suites.suite_names()]
    failures = []
    for number in range(60 * FACTOR):
        text = chance.choice(texts).read_text()
        if number % 4:
            text = yaml.safe_dump(changed(yaml.safe_load(text), chance))
        else:
            text = mutated(text, chance)
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        task = chance.choice(["Ant-v5", "HalfCheetah-v5", "CueAssociation-v0", "no task"])
        failures.append(judge("suites", text, lambda f=file, t=task: suites.load_suite(f, t)))
    check(failures)


def test_texts_of_perturbations():
    chance = random.Random(5)
    texts = ["mass:torso=1.5 + obs_noise=0.2@500", "mass=0.5..2 except 0.9..1.1 | friction~0.5",
             "joint_lock:0~1@500", "obs_dropout=0.3@ramp:10..50"]  # fmt: skip
    failures = [
        judge("texts", text, lambda t=text: parse(t))
        for text in (mutated(chance.choice(texts), chance) for _ in range(300 * FACTOR))
    ]
    check(failures)
