"""`spikepropamine tune`: finds settings of a policy by training it many times over.

Several processes on a machine work on one study. A trial trains with a few seeds, the
same in all trials, and is given up where its training returns fall behind the median of
the others at the same point. Its value is the mean, over seeds, of the return of
deterministic actions in new episodes. What a process that was killed had begun is tried
again with the same settings.
"""

import argparse
import contextlib
import itertools
import json
import shlex
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from filelock import FileLock
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

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
from spikepropamine.options import flat, is_whole, nested, words
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import parse_json, read_text
from spikepropamine.training import command_line, sections
from spikepropamine.training.callbacks import BetweenSteps
from spikepropamine.training.environments import env_maker
from spikepropamine.training.guard import Diverged
from spikepropamine.training.run import train
from spikepropamine.training.sections import CONFIGS, Way, changed
from spikepropamine.training.settings import (
    CHANGES_NO_NUMBER,
    OF_ONE_RUN,
    Settings,
    has_effect,
    validated,
)

if TYPE_CHECKING:
    import optuna

REPORTS = 10
"""Of the return so far, in each training."""
STARTUP = 5
"""So many trials have to be done before one is given up."""
WARM_UP = 3
"""Reports of each run, during which its trial is not given up."""
HEARTBEAT = 60
"""Seconds; a trial that is silent for two of them is tried again."""
FIRST_SEED = 900
"""Of the trials, beyond those of results."""
OF_TRIALS = (
    "--seed",
    "--runs",
    "--resume",
    "--overwrite",
    "--track",
    "--eval-every",
)
"""Options of a training that each trial has for itself."""

Range = dict[str, Any]
"""What is searched of a setting: `choices`, or `low`, `high` and perhaps `log`."""
Space = dict[str, Range]
"""By the dotted name of the setting."""


def parse(
    arguments: Sequence[str], program: str
) -> tuple[argparse.Namespace, Settings]:
    """Reads a command line.

    Args:
        arguments: as they were typed.
        program: how the name of the command was typed.

    Returns:
        What to search, and the settings that all trials have in common.

    Raises:
        UsageError: what is wrong with the arguments.
    """
    options, rest = _parser(program).parse_known_args(arguments)
    for name in ("trials", "seeds"):
        number = getattr(options, name)
        if number < 1:
            raise UsageError(f"--{name} must be 1 or more, got {number}")
    given = [word.partition("=")[0].replace("_", "-") for word in rest]
    options.given = [word.removeprefix("--").removeprefix("no-") for word in given]
    for name in OF_TRIALS:
        if name in given:
            raise UsageError(
                f"{name} is for `spikepropamine train`; each trial has its own"
            )
    task = ["--env", options.env, "--policy", options.policy]
    settings = command_line.parse([*task, *rest], program)
    options.rest = rest
    if options.study is None:
        options.study = Path("runs") / "tune" / settings.env / settings.policy
    return options, settings


def _parser(program: str) -> Parser:
    parser = Parser(
        program,
        description=__doc__,
        epilog="All options of `spikepropamine train` can be given too, and hold in "
        "every trial.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--env",
        metavar="ID",
        required=True,
        help="the task (`spikepropamine list envs`)",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME",
        required=True,
        help="the policy (`... list policies`)",
    )
    parser.add_argument(
        "--study",
        metavar="FOLDER",
        type=Path,
        help="shared by the processes (runs/tune/ENV/POLICY)",
    )
    parser.add_argument(
        "--search",
        metavar="FILE",
        type=Path,
        help="what is searched (configs/search/ENV.yaml, or else configured.yaml for "
        "tasks of this project and default.yaml for your own)",
    )
    parser.add_argument(
        "--trials", type=int, default=50, help="of the study (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of a trial (%(default)s)")
    return parser


def search_space(
    file: Path | None, settings: Settings, given: Sequence[str] = ()
) -> Space:
    """What is searched: settings that have an effect, and that the command line leaves
    open.

    Args:
        file: with sections as in `configs/search/default.yaml`; None: the one for the
            task.
        settings: that all trials have in common.
        given: options of the command line, without dashes at the beginning.

    Raises:
        UsageError: the file cannot be read, or names no setting.
    """
    if file is None:
        file = _search_file(settings.env)
    space: Space = {}
    files = sections.with_bases(file, CONFIGS / "search")
    passes = sections.sections_of(settings.policy, Way.of(settings))
    for names, (source, contents) in itertools.product(passes, files):
        for name in names:
            try:
                space |= dict(contents.get(name) or {})
            except (TypeError, ValueError) as error:
                raise UsageError(
                    f"{source}, section {name}: must name settings"
                ) from error
    matters = has_effect(settings)
    in_task = _has_effect_in_task(settings)
    space = {
        name: values
        for name, values in space.items()
        if values is not None
        and matters(name)
        and in_task(name)
        and name.replace("_", "-") not in given
    }
    for name, values in space.items():
        _check_range(settings, name, values, f"{file}: {name}")
    if not space:
        raise UsageError(f"{file} has nothing to search for {settings.policy}")
    return space


def _search_file(env: str) -> Path:
    """What is searched for a task: its own file, else one for tasks that are configured
    or one for those that are not.
    """
    name = f"{env.replace('/', '-')}.yaml"
    folder = CONFIGS / "search"
    if (folder / name).is_file():
        return folder / name
    if sections.is_configured(env):
        return folder / "configured.yaml"
    return folder / "default.yaml"


def _has_effect_in_task(settings: Settings) -> Callable[[str], bool]:
    """Whether a setting, by its dotted name, has an effect with the spaces of a
    task.
    """
    with closing(env_maker(settings)()) as env:
        observations = env.observation_space
        actions = env.action_space
    without = set()
    if not isinstance(actions, spaces.Box):
        without.add("trainer.log_std_init")
    if not isinstance(observations, spaces.Box) or is_image_space(observations):
        without.add("normalize_observations")
    return lambda name: name not in without


def _check_range(settings: Settings, name: str, values: Any, where: str) -> None:
    """Raises UsageError where a setting cannot be searched in this way."""
    if name in OF_ONE_RUN:
        raise UsageError(f"{where}: cannot be searched; each trial has its own")
    keys = set(values) if isinstance(values, Mapping) else set()
    is_range = {"low", "high"} <= keys <= {"low", "high", "log"}
    if keys != {"choices"} and not is_range:
        raise UsageError(
            f"{where}: needs `choices`, or `low` and `high` and perhaps `log`"
        )
    ends = [values["low"], values["high"]] if is_range else values["choices"]
    if not isinstance(ends, list) or not ends:
        raise UsageError(f"{where}: choices must be a list")
    for value in ends:
        changed(settings, nested({name: value}), where)
    if is_range and not _is_sound(values):
        raise UsageError(
            f"{where}: low must be below high, and above 0 where log is true"
        )


def _is_sound(values: Range) -> bool:
    """Whether `low` and `high` are the ends of a range."""
    low = values["low"]
    high = values["high"]
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return False
    if values.get("log") and low <= 0:
        return False
    return low < high


def suggested(
    trial: "optuna.Trial", space: Space, settings: Settings
) -> dict[str, Any]:
    """The settings of a trial, by dotted name.

    Args:
        trial: of Optuna.
        space: what is searched.
        settings: that all trials have in common.
    """
    values: dict[str, Any] = {}
    for name, of in space.items():
        if "choices" in of:
            # Optuna's categories are texts and numbers; widths of layers are lists
            texts = [json.dumps(choice) for choice in of["choices"]]
            values[name] = parse_json(trial.suggest_categorical(name, texts), name)
        elif _is_whole(settings, name):
            values[name] = trial.suggest_int(
                name, of["low"], of["high"], log=of.get("log", False)
            )
        else:
            values[name] = trial.suggest_float(
                name, of["low"], of["high"], log=of.get("log", False)
            )
    return values


def _is_whole(settings: Settings, name: str) -> bool:
    """Whether a setting, by its dotted name, is a whole number."""
    part: Any = settings
    *outer, last = name.split(".")
    for member in outer:
        part = getattr(part, member)
    return is_whole(type(part), last)


class Reports(BetweenSteps):
    """Tells a trial the return so far, with those of the seeds that are done, and gives
    it up where it falls behind.

    Args:
        trial: of Optuna.
        done: the returns of the seeds that are done.
        steps: of the training.
    """

    def __init__(
        self, trial: "optuna.Trial", done: Sequence[float], steps: int
    ) -> None:
        super().__init__()
        self.trial = trial
        self.done = list(done)
        self.steps = steps
        self.reported = 0
        """Reports so far."""

    @property
    def latest(self) -> float | None:
        """Mean return of the last episodes of training; None before the first is
        over.
        """
        episodes = self.model.ep_info_buffer
        if not episodes:
            return None
        return float(np.mean([episode["r"] for episode in episodes]))

    def _on_rollout_end(self) -> None:
        """Reports the mean return to the trial where a report is due; it may be given
        up.
        """
        import optuna

        due = min(REPORTS, int(REPORTS * self.num_timesteps / self.steps))
        latest = self.latest
        if due <= self.reported or latest is None:
            return
        self.reported = due
        mean = float(np.mean([*self.done, latest]))
        place = len(self.done) * REPORTS + due
        self.trial.report(mean, place)
        if due > WARM_UP and self._is_behind(mean, place):
            raise optuna.TrialPruned

    def _is_behind(self, mean: float, place: int) -> bool:
        """Whether the mean return is below the median of the trials that are done, at
        the same point. Optuna's pruner asks for the best of a trial so far, which the
        first of its seeds sets for the others.
        """
        from optuna.trial import TrialState

        complete = self.trial.study.get_trials(
            deepcopy=False, states=[TrialState.COMPLETE]
        )
        others = [
            trial.intermediate_values[place]
            for trial in complete
            if place in trial.intermediate_values
        ]
        return len(others) >= STARTUP and mean < float(np.median(others))


def value_of(
    trial: "optuna.Trial", settings: Settings, seeds: int, folder: Path
) -> float:
    """Trains with each seed.

    Args:
        trial: of Optuna.
        settings: of the trial.
        seeds: how many.
        folder: of its runs.

    Returns:
        The mean return of the policies in the evaluations that follow, as of
        `--eval-every`.

    Raises:
        optuna.TrialPruned: the trial is given up, or training broke down.
        UsageError: settings that do not go together, or no episode is over.
    """
    import optuna

    training_returns: list[float] = []
    values: list[float] = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        run = replace(
            settings, seed=seed, runs=folder, overwrite=True, eval_every=settings.steps
        )
        reports = Reports(trial, training_returns, run.steps)
        try:
            train(run, callbacks=[reports])
        except Diverged as error:
            raise optuna.TrialPruned from error
        if reports.latest is None:
            raise UsageError(
                f"no episode is over within {run.steps} steps; raise --steps"
            )
        training_returns.append(reports.latest)
        # training returns would tell of exploration, too
        best = load_policy(RunFolder(run.folder.best).policy)
        values.append(best.metadata["evaluation"]["mean_reward"])
    return float(np.mean(values))


def tune(options: argparse.Namespace, settings: Settings) -> None:
    """Works on the study until it has its trials; writes `best.yaml` after each.

    Args:
        options: what `parse` gave.
        settings: that all trials have in common.

    Raises:
        UsageError: settings that cannot work, or a study that cannot be written.
    """
    require("optuna", "tune", "spikepropamine tune")
    space = search_space(options.search, settings, options.given)
    options.study.mkdir(parents=True, exist_ok=True)
    # of processes that begin at the same time
    with _in_one_line(options.study), FileLock(options.study / ".lock"):
        _check_same(options, settings, space)
        study = _study(options.study, f"{settings.env} {settings.policy}")
    with _in_one_line(options.study):
        count, best = _Work(options, settings, space, study).finish()
    print(f"best of {count} trials: {best:.6g}; {options.study / 'best.yaml'} has it")


class _Work:
    """The trials that this process makes for a study."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: Settings,
        space: Space,
        study: Any,
    ) -> None:
        from optuna.trial import TrialState

        self.options = options
        self.settings = settings
        self.space = space
        self.study = study
        self.refused = 0
        """Trials in a row whose settings do not go together."""
        self.complete = TrialState.COMPLETE
        self.counted = (TrialState.COMPLETE, TrialState.PRUNED)
        """Trials that count as one of the study."""

    def finish(self) -> tuple[int, float]:
        """Works until the study has its trials; returns how many, and the best
        value.
        """
        from optuna.study import MaxTrialsCallback

        wanted = self.options.trials
        if self._count(*self.counted) < wanted:
            enough = MaxTrialsCallback(wanted, self.counted)
            self.study.optimize(self._objective, callbacks=[self._write_best, enough])
        if not self._count(self.complete):
            raise UsageError("no trial came to its end; give more --trials")
        return self._count(*self.counted), self.study.best_trial.value

    def _count(self, *states: Any) -> int:
        """Trials that have ended in one of these states."""
        return len(self.study.get_trials(deepcopy=False, states=states))

    def _write_best(self, *_: Any) -> None:
        if self._count(self.complete):
            count = self._count(*self.counted)
            _write_best(self.study.best_trial, count, self.options, self.settings)

    def _objective(self, trial: "optuna.Trial") -> float | None:
        """The value of a trial; None where its settings do not go together."""
        import optuna

        values = suggested(trial, self.space, self.settings)
        folder = self.options.study / "trials" / f"{trial.number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        outcome = "given up"
        try:
            value = self._value(trial, values, folder)
            outcome = f"{value:.6g}"
            self.refused = 0
            return value
        except optuna.TrialPruned:
            self.refused = 0
            raise
        except UsageError as error:  # settings that do not go together
            outcome = str(error)
            self.refused += 1
            if self.refused >= STARTUP:  # it is not for these settings that they fail
                raise
            return None
        except KeyboardInterrupt:  # the next call tries it again
            self.study.enqueue_trial(trial.params)
            raise
        finally:
            # runs and checkpoints
            shutil.rmtree(folder / self.settings.env, ignore_errors=True)
            print(f"trial {trial.number}: {outcome}  {json.dumps(values)}", flush=True)

    def _value(
        self, trial: "optuna.Trial", values: dict[str, Any], folder: Path
    ) -> float:
        """Trains, and keeps what that prints in a file."""
        where = f"trial {trial.number}"
        settings = validated(changed(self.settings, nested(values), where))
        log = appended(folder / "training.log")
        with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            return value_of(trial, settings, self.options.seeds, folder)


@contextlib.contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """What a database cannot do, as where the disk is full, is a UsageError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise UsageError(f"{folder}: {reason(error)}") from error
    except UnboundLocalError as error:
        # Optuna's, where a signal comes while it stores a trial
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from error
        raise


def _study(folder: Path, name: str) -> Any:
    """The study in a folder. A trial without heartbeat, of a process that was killed,
    is tried again by another one.
    """
    import optuna

    check_replaceable(folder / "study.db")  # since SQLite writes through a link
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback()
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'study.db'}",
        heartbeat_interval=HEARTBEAT,
        heartbeat_stale_trial_callback=retry,
    )
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
        pruner=optuna.pruners.NopPruner(),  # `Reports` gives trials up
    )


def _check_same(options: argparse.Namespace, settings: Settings, space: Space) -> None:
    """Raises UsageError where the folder has a study of something else, whose values
    would mean nothing beside those of this one.
    """
    decisive = {
        name: value
        for name, value in flat(settings.as_dict()).items()
        if name not in CHANGES_NO_NUMBER
    }
    wanted = {"seeds": options.seeds, "settings": nested(decisive), "search": space}
    # one for all the studies that a journal can hold
    file = options.study / "study.json"
    if not file.is_file():
        write_text(file, json.dumps(wanted, indent=1))
    # tuples are lists in JSON
    if parse_json(read_text(file), str(file)) != json.loads(json.dumps(wanted)):
        raise UsageError(
            f"{options.study} has a study with other settings ({file.name} has them), "
            "whose values cannot be compared with those of this one; give another "
            "--study"
        )


def _write_best(
    best: Any, count: int, options: argparse.Namespace, settings: Settings
) -> None:
    """`best.yaml`: a section for `configs/ENV.yaml`, and the command that trains with
    it.
    """
    passes = sections.sections_of(settings.policy, Way.of(settings))
    section = passes[-1][-1]
    values = {}
    for name, value in best.params.items():
        is_choice = isinstance(value, str)
        values[name] = parse_json(value, name) if is_choice else value
    task = ["--env", options.env, "--policy", settings.policy]
    command = shlex.join([*task, *options.rest, *words(values)])
    head = (
        f"# trial {best.number} of {count}: mean return {best.value:.6g} after "
        f"training, seeds: {options.seeds}\n# spikepropamine train {command}\n"
    )
    text = yaml.safe_dump({section: nested(values)}, sort_keys=False)
    write_text(options.study / "best.yaml", head + text)


def main(arguments: Sequence[str], program: str = "spikepropamine tune") -> int:
    """Runs the command line.

    Args:
        arguments: as they were typed.
        program: how the name of the command was typed.

    Returns:
        The exit code.
    """

    def run() -> None:
        tune(*parse(arguments, program))

    interrupted = "interrupted; the same command goes on with the study"
    return run_command(program, run, interrupted)
