"""What a script uses: load a trained policy by name, train, evaluate."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikepropamine.common import UsageError, check_known, require
from spikepropamine.folder import ASKED, RESULTS, RunFolder, policy_folder
from spikepropamine.policies.deployed import DeployedPolicy, State
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast.single import Single
from spikepropamine.policies.spaces import batch_of_one
from spikepropamine.reading import read_json

if TYPE_CHECKING:
    import altair as alt
    import gymnasium as gym
    import polars as pl


class _Kept:
    """What `act` keeps from step to step: the state, in `single` where there is one.

    Attributes:
        single: the policy in one environment.
    """

    def __init__(self) -> None:
        self.single: Single | None = None
        self._state: State = None

    @property
    def state(self) -> State:
        """As `predict` takes and gives it; None where an episode begins."""
        return self._state if self.single is None else self.single.actor.state

    @state.setter
    def state(self, state: State) -> None:
        if self.single is None:
            self._state = state
        else:
            self.single.actor.state = state

    def change_to(self, single: Single | None) -> None:
        """From now on keeps the state there."""
        state = self.state
        self.single = single
        self.state = state


class Policy(DeployedPolicy):
    """A trained policy that acts in a loop.

    `act` keeps the state between steps, one for each thread, so that a policy can be
    shared among threads that run an episode each. A copy starts without that state.
    `predict` is Stable-Baselines3's, with the state given.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "_local"
        }

    def __setstate__(self, known: dict[str, Any]) -> None:
        self.__dict__.update(known, _local=threading.local())

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What `act` keeps for the next step, for example `layer1.fast_weights`
        [neurons, inputs].

        Empty before the first step, and for policies without spiking layers.
        """
        layout = getattr(self.policy, "layout", None)
        state = self._kept().state
        if layout is None or state is None:
            return {}
        return {name: layout.get(state[0][0], name)[0].copy() for name in layout.shapes}

    def reset(self) -> None:
        """Begins an episode: what `act` has learned in the one before is forgotten."""
        self._kept().state = None

    def act(self, observation: Any, deterministic: bool = True) -> Any:
        """The action for an observation of one environment; the first call begins an
        episode.

        Args:
            observation: as the environment gives it, of `observation_space`.
            deterministic: the mode of the distribution of actions, or a sample of it.

        Raises:
            ValueError: an observation of another shape or structure, or one that is not
                of finite numbers.
        """
        kept = self._kept()
        single = kept.single
        if single is None or not single.holds(self.normalisation):
            single = self.single()
            kept.change_to(single)
        if single is not None:
            return single.act(observation, deterministic)
        batch = batch_of_one(observation, self.observation_space)
        starts = np.array([kept.state is None])
        actions, kept.state = self.predict(batch, kept.state, starts, deterministic)
        return actions[0]

    def _kept(self) -> "_Kept":
        """What this thread keeps."""
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None:
            kept = self._local.kept = _Kept()
        return kept

    def make_env(self, **arguments: Any) -> "gym.Env":
        """The task that it was trained on, unperturbed, with what it observes besides.

        It is the task that `evaluate` has: without noise and help in training, such as
        an argument `told`, unless they are given here.

        Args:
            arguments: of the environment, beside those of the training.

        Raises:
            ValueError: the policy does not say which task it was trained on, or the
                task cannot be made.
        """
        from spikepropamine.envs.making import make, plain_arguments, revealed_text

        settings = _task_settings(self.metadata)
        plain = plain_arguments(settings["env"], settings["env_kwargs"])
        return make(
            settings["env"],
            plain | arguments,
            reveal=revealed_text(settings),
            previous=settings.get("previous", False),
        )


def _task_settings(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a policy's training. Raises ValueError: they name no task."""
    settings = metadata.get("settings")
    if isinstance(settings, Mapping):
        is_named = isinstance(settings.get("env"), str)
        if is_named and isinstance(settings.get("env_kwargs"), Mapping):
            return settings
    raise ValueError(
        "the policy does not say which task it was trained on: its settings need a "
        "text `env` and a mapping `env_kwargs`"
    )


def load(name: str | Path) -> Policy:
    """A trained policy.

    Args:
        name: of one in `spikepropamine list trained`, or the folder of a run or of its
            policy, or `hf:owner/name[@revision]`, on the Hugging Face Hub (needs the
            extra `hub`).

    Raises:
        UsageError: there is none; the message has the nearest name.
        ValueError: its files are damaged.
    """
    loaded = load_policy(policy_folder(name))
    return Policy(loaded.policy, loaded.normalisation, loaded.metadata)


@dataclass(frozen=True)
class Run:
    """A training that has ended.

    Attributes:
        folder: of the run.
    """

    folder: Path

    @property
    def progress(self) -> "pl.DataFrame":
        """The rows of progress.csv."""
        import polars as pl

        from spikepropamine.reading import read_bytes

        return pl.read_csv(
            read_bytes(RunFolder(self.folder).progress), infer_schema_length=None
        )

    def policy(self) -> Policy:
        """The policy that it left."""
        return load(self.folder)

    def figure(self, column: str = "rollout/ep_rew_mean") -> "alt.Chart":
        """A column of progress.csv by environment steps.

        Raises:
            UsageError: there is no such column, or the extra `pages` is missing.
        """
        require("altair", "pages", "a figure")
        import altair as alt

        steps = "time/total_timesteps"
        check_known("column", column, self.progress.columns)
        rows = self.progress.select(steps, column).drop_nulls()
        named = rows.rename({steps: "steps", column: "value"})
        x = alt.X("steps:Q").title("environment steps")
        y = alt.Y("value:Q").title(column)
        return alt.Chart(named).mark_line().encode(x, y)


def train(
    env: str, policy: str, *, progress: bool | None = None, **settings: Any
) -> Run:
    """Trains as `spikepropamine train` does.

    Args:
        env: id of a Gymnasium environment.
        policy: one of `spikepropamine list policies`.
        progress: True prints a progress bar and no tables, False prints nothing but
            warnings; None prints what the setting `console` says, by default both.
        settings: options by their names, those in a group as a dict:
            `train("CueAssociation-v0", "ndp-oja", steps=100_000, trainer={"gamma":
            0.0})`.

    Raises:
        UsageError: a setting that cannot be.
        Diverged: training broke down.
    """
    from spikepropamine.options import words
    from spikepropamine.training.command_line import parse
    from spikepropamine.training.run import train as run

    given = {"env": env, "policy": policy, **settings}
    if progress is not None:
        if "console" in given:
            raise UsageError("progress and console say the same thing: leave out one")
        given["console"] = "bar" if progress else "none"
    parsed = parse(list(words(given)), "train")
    run(parsed)
    return Run(parsed.folder.path)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that has ended.

    Attributes:
        folder: where it is.
        rows: all measured values, see `spikepropamine.table`.
    """

    folder: Path
    rows: "pl.DataFrame"

    @property
    def report(self) -> Path:
        """The report, HTML."""
        return self.folder / "report.html"

    def figure(self, kind: str = "trials", **select: str) -> "alt.Chart":
        """A figure of the results, as `spikepropamine claims` draws it.

        Args:
            kind: `trials` or `conditions` for tasks with right answers, else `returns`.
            select: values of columns to show alone: `condition="clean"`.

        Raises:
            UsageError: these results do not have what the figure shows, or the extra
                `pages` is missing.
        """
        require("altair", "pages", "a figure")
        import altair as alt

        from spikepropamine.report import figures

        check_known("figure", kind, ("trials", "conditions", "returns"))
        wanted: dict[str, Any] = dict(select)
        if kind != "returns":
            description = read_json(self.folder / ASKED)
            wanted.setdefault("chance", description["chance"])
        chart = figures.FIGURES[kind]([self.folder / RESULTS], **wanted)
        return alt.Chart.from_dict(chart)


def evaluate(*runs: str | Path, **options: Any) -> Evaluation:
    """Evaluates as `spikepropamine evaluate` does, and prints its table.

    Args:
        runs: folders of runs, or names of trained policies.
        options: by their names: `evaluate(run, suite="noise", episodes=20,
            lesions=["off"])`.

    Raises:
        UsageError: an option that cannot be, or a run that is not there.
    """
    from spikepropamine import table
    from spikepropamine.evaluation.command import parse
    from spikepropamine.options import words
    from spikepropamine.report.evaluate import run_all

    given = {name: value for name, value in options.items() if value is not False}
    folder, _ = run_all(parse([*map(str, runs), *words(given)], "evaluate"))
    return Evaluation(folder, table.read(folder / "results.csv"))
