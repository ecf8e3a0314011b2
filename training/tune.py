"""`spikepropamine tune`: finds settings of a policy by training it many times over.

Several processes, on one machine or on several that share a folder, work on one study: each takes
the next trial from the study's journal. A trial trains with a few seeds, the same in all trials,
and is given up where its training returns fall behind the median of the others at the same point.
Its value is the mean, over seeds, of what the trained policy earns in new episodes, with its
likeliest actions. What a process that was killed had begun is tried again with the same settings.
"""

import argparse
import contextlib
import itertools
import json
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout
from gymnasium.wrappers import TimeLimit

from spikepropamine.common import (
    Parser,
    UsageError,
    appended,
    check_replaceable,
    require,
    run_command,
    unknown,
    whole_file,
    write_text,
)
from spikepropamine.evaluation.ask.task import task_of
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.evaluation.run.jobs import width_of
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import parse_json, read_bytes, read_text
from spikepropamine.training.callbacks import BetweenSteps
from spikepropamine.training.environments import env_maker
from spikepropamine.training.guard import Diverged
from spikepropamine.training.options import nested, updated
from spikepropamine.training.run import train
from spikepropamine.training.settings import (
    CHANGES_NO_NUMBER,
    CONFIGS,
    OF_ONE_RUN,
    Settings,
    concerned,
    validated,
    with_bases,
)
from spikepropamine.training.settings import parse as parse_settings

REPORTS = 10  # of the return so far, in each training
STARTUP = 5  # trials that are never given up
EPISODES = 50  # that tell what a run has come to
FIRST_SEED = 2_000_000  # of these: neither of training nor of `spikepropamine evaluate`


def parse(arguments: Sequence[str], program: str) -> tuple[argparse.Namespace, Settings]:
    """What to search, and the settings that all trials have in common.

    Raises:
        UsageError: anything that is wrong with them.
    """
    parser = Parser(
        program,
        description=__doc__,
        epilog="All options of `spikepropamine train` can be given too, and hold in every trial.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--env", required=True, metavar="ID", help="the task (`spikepropamine list envs`)"
    )
    parser.add_argument(
        "--policy", required=True, metavar="NAME", help="the policy (`... list policies`)"
    )
    parser.add_argument(
        "--trials", type=int, default=50, help="of the study, by all processes (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of a trial (%(default)s)")
    parser.add_argument(
        "--study",
        type=Path,
        metavar="FOLDER",
        help="shared by the processes (runs/tune/ENV/POLICY)",
    )
    parser.add_argument(
        "--search",
        type=Path,
        metavar="FILE",
        help="of what is searched (configs/search/ENV.yaml, or default.yaml there)",
    )
    options, rest = parser.parse_known_args(arguments)
    for name in ("trials", "seeds"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} must be 1 or more, got {getattr(options, name)}")
    for name in ("--seed", "--runs", "--resume", "--overwrite", "--track"):
        if name in [word.partition("=")[0] for word in rest]:
            raise UsageError(f"{name} is for `spikepropamine train`; each trial has its own")
    settings = parse_settings(["--env", options.env, "--policy", options.policy, *rest], program)
    options.rest = rest
    if options.study is None:
        options.study = Path("runs") / "tune" / settings.env / settings.policy
    return options, settings


def search_space(file: Path | None, settings: Settings) -> dict[str, dict[str, Any]]:
    """What is searched, by the dotted name of the setting.

    Args:
        file: with sections as in `configs/search/default.yaml`, and perhaps a `base`, the name of
            another one there whose sections come before; None: that of the environment.
        settings: of the trials.

    Raises:
        UsageError: a section or range that cannot be read, or no such setting.
    """
    if file is None:
        file = CONFIGS / "search" / f"{settings.env.replace('/', '-')}.yaml"
        file = file if file.is_file() else CONFIGS / "search" / "default.yaml"
    files = with_bases(file, CONFIGS / "search")
    space: dict[str, Any] = {}
    names = dict.fromkeys(("all", settings.policy.split("-")[0], settings.policy))
    for name, (source, sections) in itertools.product(names, files):
        try:
            space |= dict(sections.get(name) or {})
        except (TypeError, ValueError) as error:
            raise UsageError(f"{source}, section {name}: must name settings") from error
    matters = concerned(settings.policy, settings.teacher is not None, settings.trainer.kind)
    space = {name: of for name, of in space.items() if of is not None and matters(name)}
    for name, of in space.items():
        _check_range(settings, name, of, f"{file}: {name}")
    if not space:
        raise UsageError(f"{file} has nothing to search for {settings.policy}")
    return space


def _check_range(settings: Settings, name: str, of: Any, where: str) -> None:
    if name in OF_ONE_RUN:
        raise UsageError(f"{where}: cannot be searched; each trial has its own")
    at: Any = settings
    for part in str(name).split("."):
        names = [field.name for field in fields(at)] if is_dataclass(at) else []
        if part not in names:
            raise UsageError(f"{where}: {unknown('setting', part, names)}")
        at = getattr(at, part)
    keys = set(of) if isinstance(of, Mapping) else set()
    if keys != {"choices"} and not {"low", "high"} <= keys <= {"low", "high", "log"}:
        raise UsageError(f"{where}: needs `choices`, or `low` and `high` and perhaps `log`")
    ends = of["choices"] if "choices" in of else [of["low"], of["high"]]
    if not isinstance(ends, list) or not ends:
        raise UsageError(f"{where}: choices must be a list")
    for value in ends:
        updated(settings, nested({name: value}), where)
    if "choices" not in of:
        numbers = all(isinstance(end, int | float) for end in ends)
        if not numbers or not of["low"] < of["high"] or (of.get("log") and of["low"] <= 0):
            raise UsageError(f"{where}: low must be below high, and above 0 where log is true")


def suggested(trial: Any, space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a trial, by dotted name."""
    values: dict[str, Any] = {}
    for name, of in space.items():
        if "choices" in of:
            # Optuna's categories are texts and numbers; widths of layers are lists
            texts = [json.dumps(choice) for choice in of["choices"]]
            values[name] = parse_json(trial.suggest_categorical(name, texts), name)
        elif isinstance(of["low"], int) and isinstance(of["high"], int):
            values[name] = trial.suggest_int(name, of["low"], of["high"], log=of.get("log", False))
        else:
            low, high = float(of["low"]), float(of["high"])
            values[name] = trial.suggest_float(name, low, high, log=of.get("log", False))
    return values


class Reports(BetweenSteps):
    """Tells a trial the return so far, and gives it up where it falls behind.

    Args:
        trial: Optuna's.
        done: returns of the seeds before.
        steps: of the training.
    """

    def __init__(self, trial: Any, done: Sequence[float], steps: int) -> None:
        super().__init__()
        self.trial, self.done, self.steps = trial, list(done), steps
        self.told = 0

    @property
    def latest(self) -> float | None:
        """Mean return of the last episodes of training; None before the first is over."""
        episodes = self.model.ep_info_buffer
        return float(np.mean([episode["r"] for episode in episodes])) if episodes else None

    def _on_rollout_end(self) -> None:
        import optuna

        due = min(REPORTS, int(REPORTS * self.num_timesteps / self.steps))
        if due <= self.told or self.latest is None:
            return
        self.told = due
        self.trial.report(float(np.mean([*self.done, self.latest])), len(self.done) * REPORTS + due)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def value_of(trial: Any, settings: Settings, seeds: int, folder: Path) -> float:
    """Trains with each seed; the mean of what the policies earn.

    Raises:
        optuna.TrialPruned: the trial is given up, or training broke down.
    """
    import optuna

    returns: list[float] = []
    values: list[float] = []
    for seed in range(seeds):
        one = replace(settings, seed=seed, runs=folder, overwrite=True)
        reports = Reports(trial, returns, one.steps)
        try:
            train(one, callbacks=[reports])
        except Diverged as error:
            raise optuna.TrialPruned from error
        if reports.latest is None:
            raise UsageError(f"no episode is over within {one.steps} steps; raise --steps")
        returns.append(reports.latest)
        values.append(earned(one))
    return float(np.mean(values))


def earned(settings: Settings) -> float:
    """Mean return of the policy that a training left, with its likeliest actions, in new episodes
    of the task as it was trained. Training returns would tell of exploration, too.
    """
    task = task_of(settings.env, settings.env_kwargs)
    make_one = env_maker(settings)
    make = make_one if task.own_limit else lambda: TimeLimit(make_one(), task.horizon)
    policy = load_policy(settings.folder.policy)
    seeds = range(FIRST_SEED, FIRST_SEED + EPISODES)
    episodes = run_episodes(policy, make, seeds, width=width_of(task))
    return float(np.mean([episode.total_reward for episode in episodes]))


class Worker:
    """A process that works on a study; while it lives it holds the lock of a file of its own."""

    def __init__(self, study: Any, folder: Path) -> None:
        self.study, self.folder = study, folder / "workers"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name, self.refused = uuid.uuid4().hex, 0
        self._lock = FileLock(self.folder / self.name)
        self._lock.acquire()

    def close(self) -> None:
        """It is done."""
        self._lock.release()
        (self.folder / self.name).unlink(missing_ok=True)

    def begin(self) -> Any:
        """The next trial."""
        trial = self.study.ask()
        trial.set_user_attr("worker", self.name)
        return trial

    def take_over(self) -> None:
        """Has every trial that a process left behind when it was killed tried again."""
        import optuna

        running = optuna.trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            worker = trial.user_attrs.get("worker")
            if worker is None or self._lives(worker):
                continue
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                # which another worker makes it raise that was as fast
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                self.study.enqueue_trial(trial.params)
                shutil.rmtree(_folder_of(self.folder.parent, trial), ignore_errors=True)
                print(f"trial {trial.number} was left behind, its settings are tried again")

    def _lives(self, worker: str) -> bool:
        if not (self.folder / worker).exists():
            return False
        try:
            with FileLock(self.folder / worker, timeout=0):
                return False
        except Timeout:
            return True


def tune(options: argparse.Namespace, settings: Settings) -> None:
    """Works on the study until it has its trials; writes `best.yaml` after each.

    Raises:
        UsageError: settings that cannot work.
    """
    require("optuna", "tune", "spikepropamine tune")
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    space = search_space(options.search, settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.study.mkdir(parents=True, exist_ok=True)
    # Optuna's own locks are files that a killed process leaves behind
    turn: Any = FileLock(options.study / "journal.lock")
    with turn:
        _check_same(options, settings, space)
        _cut_torn_line(options.study / "journal.log")
    journal = JournalFileBackend(str(options.study / "journal.log"), turn)
    study = optuna.create_study(
        storage=JournalStorage(journal),
        study_name=f"{settings.env} {settings.policy}",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=REPORTS // 3),
    )
    worker = Worker(study, options.study)
    try:
        while True:
            worker.take_over()
            if _done(study) >= options.trials:
                break
            _try_one(worker, space, options, settings)
            _write_best(study, options, settings)
    finally:
        worker.close()
    best = _best(study)
    if best is None:
        raise UsageError("no trial came to its end; give more --trials")
    print(f"best of {_done(study)} trials: {best.value:.6g}; {options.study / 'best.yaml'} has it")


def _check_same(
    options: argparse.Namespace, settings: Settings, space: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raises UsageError where the folder has a study of something else, whose values would mean
    nothing beside those of this one.
    """
    plain = {name: x for name, x in settings.as_dict().items() if name not in CHANGES_NO_NUMBER}
    asked = json.dumps({"seeds": options.seeds, "settings": plain, "search": space}, indent=1)
    file = options.study / "study.json"  # one for all the studies that a journal can hold
    if not file.is_file():
        write_text(file, asked)
    if read_text(file) != asked:
        raise UsageError(
            f"{options.study} has a study with other settings ({file.name} has them), whose values "
            "cannot be compared with those of this one; give another --study"
        )


def _cut_torn_line(journal: Path) -> None:
    """Removes what a process that died had begun to write; Optuna would append to it, and then
    refuse the line.
    """
    check_replaceable(journal)  # since Optuna writes through a link
    if not journal.is_file():
        return
    content = read_bytes(journal)
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with whole_file(journal) as part:
            part.write_bytes(content[:whole])


def _folder_of(study: Path, trial: Any) -> Path:
    return study / "trials" / f"{trial.number:04d}"


def _try_one(
    worker: Worker,
    space: Mapping[str, Mapping[str, Any]],
    options: argparse.Namespace,
    settings: Settings,
) -> None:
    import optuna

    trial = worker.begin()
    values = suggested(trial, space)
    folder = _folder_of(options.study, trial)
    folder.mkdir(parents=True, exist_ok=True)
    states, value, state = optuna.trial.TrialState, None, None
    try:
        mine = validated(updated(settings, nested(values), f"trial {trial.number}"))
        with (
            appended(folder / "training.log") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            value = value_of(trial, mine, options.seeds, folder)
        state, worker.refused = states.COMPLETE, 0
    except optuna.TrialPruned:
        state = states.PRUNED
    except UsageError as error:  # settings that do not go together
        state = states.FAIL
        worker.refused += 1
        if worker.refused >= STARTUP:  # it is not for their own settings that they fail
            raise
        print(f"trial {trial.number}: {error}", file=sys.stderr, flush=True)
        return
    finally:  # where it has none, another process or the next call tries it again
        if state is not None:
            worker.study.tell(trial, value, state=state)
            shutil.rmtree(folder / settings.env, ignore_errors=True)  # runs and checkpoints
    told = "given up" if value is None else f"{value:.6g}"
    print(f"trial {trial.number}: {told}  {json.dumps(values)}", flush=True)


def _done(study: Any) -> int:
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _best(study: Any) -> Any:
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: trial.value, default=None)


def _write_best(study: Any, options: argparse.Namespace, settings: Settings) -> None:
    """`best.yaml`: a section for `configs/ENV.yaml`, and the command that trains with it."""
    best = _best(study)
    if best is None:
        return
    values = {
        name: parse_json(value, name) if isinstance(value, str) else value
        for name, value in best.params.items()
    }
    words = [word for name, value in values.items() for word in _words(name, value)]
    chosen = ["--env", options.env, "--policy", settings.policy, *options.rest, *words]
    seeds = "1 seed" if options.seeds == 1 else f"{options.seeds} seeds"
    head = (
        f"# trial {best.number} of {_done(study)}: mean return {best.value:.6g} after "
        f"training, over {seeds}\n# spikepropamine train {shlex.join(chosen)}\n"
    )
    section = yaml.safe_dump({settings.policy: nested(values)}, sort_keys=False)
    write_text(options.study / "best.yaml", head + section)


def _words(name: str, value: Any) -> Iterator[str]:
    """A setting as options are written; none says that there is no value."""
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif value is not None:
        yield f"--{name}"
        yield from map(str, value if isinstance(value, list) else [value])


def main(arguments: Sequence[str], program: str = "spikepropamine tune") -> int:
    """Runs the command line; returns its exit code."""

    def run() -> int:
        tune(*parse(arguments, program))
        return 0

    return run_command(program, run, "interrupted; the same command goes on with the study")
