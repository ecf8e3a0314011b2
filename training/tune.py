"""`spikepropamine tune`: finds settings of a policy by training it many times over.

Several processes on a machine work on one study. A trial trains with a few seeds, the same in all
trials, and is given up where its training returns fall behind the median of the others at the same
point. Its value is the mean, over seeds, of the return of deterministic actions in new episodes.
What a process that was killed had begun is tried again with the same settings.
"""

import argparse
import contextlib
import itertools
import json
import math
import shlex
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock

from spikepropamine.common import (
    Parser,
    UsageError,
    appended,
    check_replaceable,
    reason,
    require,
    run_command,
    write_text,
)
from spikepropamine.folder import RunFolder
from spikepropamine.options import flat, nested, updated, words
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import parse_json, read_text
from spikepropamine.training import settings as training
from spikepropamine.training.callbacks import BetweenSteps, Diverged
from spikepropamine.training.run import train
from spikepropamine.training.settings import CONFIGS, Settings

REPORTS = 10  # of the return so far, in each training
STARTUP = 5  # trials that are never given up
HEARTBEAT = 60  # seconds; a trial that is silent for two of them is tried again
FIRST_SEED = 900  # of the trials, beyond those of results


def parse(
    arguments: Sequence[str], program: str
) -> tuple[argparse.Namespace, Settings]:
    """What to search, and the settings that all trials have in common."""
    parser = Parser(
        program,
        description=__doc__,
        epilog="All options of `spikepropamine train` can be given too, and hold in every trial.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--env",
        metavar="ID",
        required=True,
        help="the task (`spikepropamine list envs`)",
    )
    add(
        "--policy",
        metavar="NAME",
        required=True,
        help="the policy (`... list policies`)",
    )
    text = "shared by the processes (runs/tune/ENV/POLICY)"
    add("--study", metavar="FOLDER", type=Path, help=text)
    text = "what is searched (configs/search/ENV.yaml or default.yaml)"
    add("--search", metavar="FILE", type=Path, help=text)
    add("--trials", type=int, default=50, help="of the study (%(default)s)")
    add("--seeds", type=int, default=3, help="of a trial (%(default)s)")
    options, rest = parser.parse_known_args(arguments)
    for name in ("trials", "seeds"):
        if getattr(options, name) < 1:
            raise UsageError(
                f"--{name} must be 1 or more, got {getattr(options, name)}"
            )
    for name in (
        "--seed",
        "--runs",
        "--resume",
        "--overwrite",
        "--track",
        "--eval-every",
    ):
        if name in [word.partition("=")[0].replace("_", "-") for word in rest]:
            raise UsageError(
                f"{name} is for `spikepropamine train`; each trial has its own"
            )
    settings = training.parse(
        ["--env", options.env, "--policy", options.policy, *rest], program
    )
    options.rest = rest
    if options.study is None:
        options.study = Path("runs") / "tune" / settings.env / settings.policy
    return options, settings


def search_space(file: Path | None, settings: Settings) -> dict[str, dict[str, Any]]:
    """What is searched, by the dotted name of the setting. Raises UsageError where a file, with
    sections as in `configs/search/default.yaml`, cannot be read, or names no setting.
    """
    if file is None:
        file = CONFIGS / "search" / f"{settings.env.replace('/', '-')}.yaml"
        file = file if file.is_file() else CONFIGS / "search" / "default.yaml"
    files = training.with_bases(file, CONFIGS / "search")
    space: dict[str, Any] = {}
    names = dict.fromkeys(("all", settings.policy.split("-")[0], settings.policy))
    for name, (source, sections) in itertools.product(names, files):
        try:
            space |= dict(sections.get(name) or {})
        except (TypeError, ValueError) as error:
            raise UsageError(f"{source}, section {name}: must name settings") from error
    matters = training.has_effect(settings)
    space = {name: of for name, of in space.items() if of is not None and matters(name)}
    for name, of in space.items():
        _check_range(settings, name, of, f"{file}: {name}")
    if not space:
        raise UsageError(f"{file} has nothing to search for {settings.policy}")
    return space


def _check_range(settings: Settings, name: str, of: Any, where: str) -> None:
    if name in training.OF_ONE_RUN:
        raise UsageError(f"{where}: cannot be searched; each trial has its own")
    keys = set(of) if isinstance(of, Mapping) else set()
    if keys != {"choices"} and not {"low", "high"} <= keys <= {"low", "high", "log"}:
        raise UsageError(
            f"{where}: needs `choices`, or `low` and `high` and perhaps `log`"
        )
    ends = of["choices"] if "choices" in of else [of["low"], of["high"]]
    if not isinstance(ends, list) or not ends:
        raise UsageError(f"{where}: choices must be a list")
    for value in ends:
        updated(settings, nested({name: value}), where)
    if "choices" not in of:
        numbers = all(isinstance(end, int | float) for end in ends)
        if (
            not numbers
            or not of["low"] < of["high"]
            or (of.get("log") and of["low"] <= 0)
        ):
            raise UsageError(
                f"{where}: low must be below high, and above 0 where log is true"
            )


def suggested(
    trial: Any, space: Mapping[str, Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    """The settings of a trial, by dotted name."""
    values: dict[str, Any] = {}
    for name, of in space.items():
        if "choices" in of:
            # Optuna's categories are texts and numbers; widths of layers are lists
            texts = [json.dumps(choice) for choice in of["choices"]]
            values[name] = parse_json(trial.suggest_categorical(name, texts), name)
            continue
        suggest = trial.suggest_float
        try:
            between = of["low"] + (of["high"] - of["low"]) / math.pi
            updated(settings, nested({name: between}), name)
        except UsageError:  # whole numbers only
            suggest = trial.suggest_int
        values[name] = suggest(name, of["low"], of["high"], log=of.get("log", False))
    return values


class Reports(BetweenSteps):
    """Tells a trial the return so far, with those of the seeds that are done, and gives it up
    where it falls behind.
    """

    def __init__(self, trial: Any, done: Sequence[float], steps: int) -> None:
        super().__init__()
        self.trial, self.done, self.steps = trial, list(done), steps
        self.told = 0

    @property
    def latest(self) -> float | None:
        """Mean return of the last episodes of training; None before the first is over."""
        episodes = self.model.ep_info_buffer
        return (
            float(np.mean([episode["r"] for episode in episodes])) if episodes else None
        )

    def _on_rollout_end(self) -> None:
        import optuna

        due = min(REPORTS, int(REPORTS * self.num_timesteps / self.steps))
        if due <= self.told or self.latest is None:
            return
        self.told = due
        self.trial.report(
            float(np.mean([*self.done, self.latest])), len(self.done) * REPORTS + due
        )
        if self.trial.should_prune():
            raise optuna.TrialPruned


def value_of(trial: Any, settings: Settings, seeds: int, folder: Path) -> float:
    """Trains with each seed; the mean return of the policies in the evaluations that follow, as of
    `--eval-every`. Raises optuna.TrialPruned where the trial is given up, or training broke down.
    """
    import optuna

    returns, values = list[float](), list[float]()
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        one = replace(
            settings, seed=seed, runs=folder, overwrite=True, eval_every=settings.steps
        )
        reports = Reports(trial, returns, one.steps)
        try:
            train(one, callbacks=[reports])
        except Diverged as error:
            raise optuna.TrialPruned from error
        if reports.latest is None:
            raise UsageError(
                f"no episode is over within {one.steps} steps; raise --steps"
            )
        returns.append(reports.latest)
        # training returns would tell of exploration, too
        values.append(
            load_policy(RunFolder(one.folder.best).policy).metadata["evaluation"][
                "mean_reward"
            ]
        )
    return float(np.mean(values))


def tune(options: argparse.Namespace, settings: Settings) -> None:
    """Works on the study until it has its trials; writes `best.yaml` after each. Raises UsageError
    where settings that cannot work, or a study that cannot be written.
    """
    require("optuna", "tune", "spikepropamine tune")
    import optuna

    space = search_space(options.search, settings)
    options.study.mkdir(parents=True, exist_ok=True)
    # of processes that begin at the same time
    with _in_one_line(options.study), FileLock(options.study / ".lock"):
        _check_same(options, settings, space)
        study = _study(options.study, f"{settings.env} {settings.policy}")
    refused = 0

    def objective(trial: Any) -> float | None:
        nonlocal refused
        values = suggested(trial, space, settings)
        folder = options.study / "trials" / f"{trial.number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        told = "given up"
        try:
            mine = training.validated(
                updated(settings, nested(values), f"trial {trial.number}")
            )
            log = appended(folder / "training.log")
            with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                value = value_of(trial, mine, options.seeds, folder)
            told, refused = f"{value:.6g}", 0
            return value
        except optuna.TrialPruned:
            refused = 0
            raise
        except UsageError as error:  # settings that do not go together
            told = str(error)
            refused += 1
            if refused >= STARTUP:  # it is not for their own settings that they fail
                raise
            return None
        except KeyboardInterrupt:  # the next call tries it again
            study.enqueue_trial(trial.params)
            raise
        finally:
            shutil.rmtree(
                folder / settings.env, ignore_errors=True
            )  # runs and checkpoints
            print(f"trial {trial.number}: {told}  {json.dumps(values)}", flush=True)

    complete, pruned = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    enough = optuna.study.MaxTrialsCallback(options.trials, (complete, pruned))

    def ended(*states: Any) -> list[Any]:
        return study.get_trials(deepcopy=False, states=states)

    def write_best(*_: Any) -> None:
        if ended(complete):
            _write_best(
                study.best_trial, len(ended(complete, pruned)), options, settings
            )

    with _in_one_line(options.study):
        if len(ended(complete, pruned)) < options.trials:
            study.optimize(objective, callbacks=[write_best, enough])
        if not ended(complete):
            raise UsageError("no trial came to its end; give more --trials")
        best, count = study.best_trial.value, len(ended(complete, pruned))
    print(f"best of {count} trials: {best:.6g}; {options.study / 'best.yaml'} has it")


@contextlib.contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """What a database cannot do, as where the disk is full, is a UsageError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise UsageError(f"{folder}: {reason(error)}") from error
    except (
        UnboundLocalError
    ) as error:  # Optuna's, where a signal comes while it stores a trial
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from error
        raise


def _study(folder: Path, name: str) -> Any:
    """The study in a folder. A trial without heartbeat, of a process that was killed, is tried
    again by another one.
    """
    import optuna

    check_replaceable(folder / "study.db")  # since SQLite writes through a link
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'study.db'}",
        heartbeat_interval=HEARTBEAT,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=STARTUP, n_warmup_steps=REPORTS // 3
        ),
    )


def _check_same(
    options: argparse.Namespace,
    settings: Settings,
    space: Mapping[str, Mapping[str, Any]],
) -> None:
    """Raises UsageError where the folder has a study of something else, whose values would mean
    nothing beside those of this one.
    """
    without = training.CHANGES_NO_NUMBER
    plain = nested(
        {k: x for k, x in flat(settings.as_dict()).items() if k not in without}
    )
    asked = json.dumps(
        {"seeds": options.seeds, "settings": plain, "search": space}, indent=1
    )
    file = (
        options.study / "study.json"
    )  # one for all the studies that a journal can hold
    if not file.is_file():
        write_text(file, asked)
    if read_text(file) != asked:
        other = (
            f"{options.study} has a study with other settings ({file.name} has them)"
        )
        why = "whose values cannot be compared with those of this one"
        raise UsageError(f"{other}, {why}; give another --study")


def _write_best(
    best: Any, count: int, options: argparse.Namespace, settings: Settings
) -> None:
    """`best.yaml`: a section for `configs/ENV.yaml`, and the command that trains with it."""
    name = training.sections_of(settings.policy, *settings.how)[-1][-1]
    values = {
        name: parse_json(value, name) if isinstance(value, str) else value
        for name, value in best.params.items()
    }
    chosen = [
        "--env",
        options.env,
        "--policy",
        settings.policy,
        *options.rest,
        *words(values),
    ]
    head = (
        f"# trial {best.number} of {count}: mean return {best.value:.6g} after training, "
        f"seeds: {options.seeds}\n# spikepropamine train {shlex.join(chosen)}\n"
    )
    section = yaml.safe_dump({name: nested(values)}, sort_keys=False)
    write_text(options.study / "best.yaml", head + section)


def main(arguments: Sequence[str], program: str = "spikepropamine tune") -> int:
    """Runs the command line; returns its exit code."""
    interrupted = "interrupted; the same command goes on with the study"
    return run_command(program, lambda: tune(*parse(arguments, program)), interrupted)
