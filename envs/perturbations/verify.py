"""`spikepropamine verify`: shows for every task and perturbation that it does what it
says.

A fixed tape of actions is played under severity 0 and under rising severities. It is
played to its end, through falls, so that all trajectories have the same length.
"""

import copy
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import gymnasium as gym
import numpy as np

from spikepropamine import common
from spikepropamine.common import Parser, UsageError, one_line, unknown
from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.making import check_env_id, split_env
from spikepropamine.envs.perturbations.catalogue import CATALOGUE, Family
from spikepropamine.envs.perturbations.wrapper import Perturbed, reason_against
from spikepropamine.envs.rendering import is_mujoco
from spikepropamine.envs.shown import translated
from spikepropamine.envs.task import task_attribute
from spikepropamine.versions import add_import, import_modules, unless_imported

TASKS = (
    *(
        "HalfCheetah-v5",
        "Ant-v5",
        "Hopper-v5",
        "Walker2d-v5",
        "Swimmer-v5",
        "Humanoid-v5",
    ),
    *("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "HalfCheetahDirection-v0"),
    *("HalfCheetahVelocity-v0", "HalfCheetahCue-v0", "HalfCheetahCueLesson-v0"),
    *("CueAssociation-v0", "EvidenceAccumulation-v0", "KeyValue-v0"),
)
# so that a tape covers several trials, and trials are longer than delays
ARGUMENTS: dict[str, dict[str, Any]] = {
    "HalfCheetahCueLesson-v0": {"cue_length": 12},
    "HalfCheetahCue-v0": {"cue_length": 9, "feedback_length": 3, "trials": 20},
    "CueAssociation-v0": {"cue_length": 6, "feedback_length": 6, "delay_length": 6},
}
SEVERITIES = (0.25, 0.5, 1.0)
STEPS = 120  # of a tape, at least
SECONDS = 2.0  # of a tape, at least: time to fall, where there is any
SEEDS = (0, 1, 2)
ONSET = 20
# steps in which differences grow by what caused them, before they grow by themselves
WINDOW = 10
SMALLEST = 1e-9  # differences below count as this one, so that their logarithm exists
TOLERANCE = (
    0.15  # contacts are chaotic: a severity may change so much less than the one below
)
PERIODS = (
    30,
    80,
)  # steps of the waves on a tape: a delay of white noise would have no size
COLUMNS = "{:25} {:14} {:49} {:25} {}"  # of the table
SATURATION = (
    0.8  # of the difference between unrelated episodes, where there is hardly any more
)


@dataclass
class Row:
    """What was found for one task and family, by their names.

    Deviations from the plain trajectory are the root mean square over observation and
    reward, in units of their spread: of all steps where a perturbation leaves the
    motion of the robot alone, otherwise its geometric mean over seeds and the first few
    steps after it begins.
    """

    task: str
    family: str
    values: tuple[float, ...] = ()  # at `SEVERITIES`
    deviations: tuple[float, ...] = ()  # at `SEVERITIES`
    reason: str = ""  # why it was not applied; empty where it was
    failures: list[str] = field(default_factory=list)  # what is wrong


class Probe(gym.Wrapper):
    """Sits between perturbations and task, and notes the actions that the task does not
    allow.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.wrong_actions = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        self.wrong_actions += not self.env.action_space.contains(action)
        return self.env.step(action)


class Player:
    """Plays tapes of actions in one task, with and without perturbations: of so many
    steps, one tape and one episode for each seed.
    """

    def __init__(self, task: str, steps: int = STEPS) -> None:
        self.task = task
        env = self.make()
        steps = max(steps, round(SECONDS / getattr(env.unwrapped, "dt", SECONDS)))
        self.steps = min(steps, task_attribute(env, "episode_steps") or steps)
        self.tapes = {
            seed: tape_of(env.action_space, self.steps, seed) for seed in SEEDS
        }
        self.spread: np.ndarray | float = 1.0
        self.warnings = 0  # of MuJoCo, that a state of a simulation is bad
        self.plain = {seed: self.play(env, seed) for seed in SEEDS}
        self.unstable = self.warnings > 0
        scale = np.concatenate(list(self.plain.values())).std(axis=0)
        self.scale = np.where(scale > SMALLEST, scale, 1.0)
        self.spread = self.scale[:-1]
        env.close()

    def make(self, text: str | None = None) -> gym.Env:
        """The task, perturbed if there is a text."""
        # Gymnasium's checker complains about steps after a fall
        plain: dict[str, Any] = {"disable_env_checker": True, "max_episode_steps": -1}
        env: gym.Env = Probe(
            gym.make(self.task, **plain, **ARGUMENTS.get(self.task, {}))
        )
        return env if text is None else Perturbed(env, text, self.spread)

    def play(self, env: gym.Env, seed: int) -> np.ndarray:
        """Observations and rewards of an episode, [steps + 1, channels + 1].

        Args:
            env: with or without a perturbation.
            seed: of the episode.
        """
        rows = np.stack(list(self.steps_of(env, seed)))
        if is_mujoco(env):
            import mujoco

            task = cast(Any, env.unwrapped)
            kinds = mujoco.mjtWarning
            for kind in (
                kinds.mjWARN_BADQPOS,
                kinds.mjWARN_BADQVEL,
                kinds.mjWARN_BADQACC,
            ):
                self.warnings += int(task.data.warning[kind].number)
        return rows

    def steps_of(self, env: gym.Env, seed: int) -> Iterator[np.ndarray]:
        """Observation and reward of an episode's steps, also after the robot has
        fallen.

        Args:
            env: with or without a perturbation.
            seed: of the episode.

        Yields:
            Of the start and of each step, float [channels + 1], the reward last.

        Raises:
            AssertionError: an observation is not in the observation space.
        """
        observation, _ = env.reset(seed=seed)
        reward: Any = 0.0
        over = False
        for action in [*self.tapes[seed], None]:
            if not over and not env.observation_space.contains(observation):
                raise AssertionError("an observation is not in the observation space")
            yield np.append(np.asarray(observation, dtype=np.float64), reward)
            if action is not None:
                observation, reward, terminated, truncated, _ = env.step(action)
                over |= terminated or truncated

    def deviations(
        self, trajectories: Sequence[dict[int, np.ndarray]], whole: bool
    ) -> tuple[float, ...]:
        """How far trajectories are from the plain ones; see `Row`.

        Args:
            trajectories: of several runs, by seed, each [steps + 1, channels + 1].
            whole: whether the whole episode counts, not only `WINDOW` steps from the
                first deviation on.
        """
        sizes = []
        for seed in SEEDS:
            runs = np.stack([rows[seed] for rows in trajectories])
            square = (((runs - self.plain[seed]) / self.scale) ** 2).mean(axis=2)
            begins = int(np.argmax(square.any(axis=0)))  # where any of them deviates
            sizes.append(square if whole else square[:, begins : begins + WINDOW])
        squares = np.concatenate(sizes, axis=1)
        if whole:
            return tuple(np.sqrt(squares.mean(axis=1)).tolist())
        logarithms = np.log(np.maximum(np.sqrt(squares), SMALLEST))
        return tuple(np.exp(logarithms.mean(axis=1)).tolist())

    def rises(
        self, deviations: Sequence[float], whole: bool, strictly: bool = True
    ) -> bool:
        """Whether more severity means more deviation, as far as there can be more.

        Episodes of different seeds are about as far apart as trajectories can get.

        Args:
            deviations: by rising severity.
            whole: as of `deviations`.
            strictly: False: all severities may deviate alike, as a sign of one motor
                does.
        """
        others = {
            seed: self.plain[other]
            for seed, other in zip(SEEDS, (*SEEDS[1:], SEEDS[0]))
        }
        most = self.deviations([others], whole)[0]
        capped = np.minimum(deviations, most)
        steps = capped[1:] >= (1 - TOLERANCE) * capped[:-1]
        more = capped[-1] > capped[0] or capped[0] >= SATURATION * most
        return bool(steps.all() and (more or not strictly))


def tape_of(space: gym.Space, steps: int, seed: int) -> list[Any]:
    """Random actions: slow waves of full size, growing from nothing, where there is a
    scale.

    Args:
        space: of actions.
        steps: how many.
        seed: of the draws.
    """
    if not isinstance(space, gym.spaces.Box):
        space.seed(seed)
        return [space.sample() for _ in range(steps)]
    random = np.random.default_rng(seed)
    periods = random.uniform(*PERIODS, space.shape)
    phases = random.uniform(0, 2 * np.pi, space.shape)
    middle = (space.high + space.low) / 2
    half = (space.high - space.low) / 2
    waves = [
        min(step / PERIODS[0], 1) * np.sin(2 * np.pi * step / periods + phases)
        for step in range(steps)
    ]
    return [(middle + half * wave).astype(space.dtype) for wave in waves]


def verify_family(player: Player, family: Family) -> Row:
    """Everything that has to hold for one family in one task.

    Args:
        player: of the task.
        family: a perturbation, of this project or registered by a user.

    Returns:
        A row that says what failed, or why the family does not apply.
    """
    row = Row(player.task, family.name)
    env = player.make()
    try:
        if reason := reason_against(env, f"{family.name}~1"):
            row.reason = reason.split(": ", 1)[-1]
        else:
            _verify(player, family, env, row)
    except (AssertionError, ValueError, FloatingPointError) as error:
        row.failures.append(str(error))
    except Exception as error:  # of any kind: the family may be anybody's
        row.failures.append(
            f"it cannot be played: {type(error).__name__}: {one_line(error)}"
        )
    env.close()
    return row


def _verify(player: Player, family: Family, env: gym.Env, row: Row) -> None:
    task: Any = env.unwrapped
    before = copy.copy(task.model) if is_mujoco(task) else None
    first = SEEDS[0]

    def require(truth: bool, otherwise: str) -> None:
        if not truth:
            row.failures.append(otherwise)

    def differs(rows: dict[int, np.ndarray], steps: slice = slice(None)) -> bool:
        """Whether an episode of any seed differs from the plain one in these steps."""
        return not all(
            _equal(rows[seed][steps], player.plain[seed][steps]) for seed in rows
        )

    def played(text: str, seeds: Sequence[int] = SEEDS) -> dict[int, np.ndarray]:
        wrapper = Perturbed(env, text, player.spread)
        rows = {seed: player.play(wrapper, seed) for seed in seeds}
        wrapper.undo()
        return rows

    require(
        not differs(played(f"{family.name}~0")),
        "severity 0 differs from the plain task",
    )
    trajectories = []
    for severity in SEVERITIES:
        player.warnings = 0
        rows = played(f"{family.name}~{severity}")
        trajectories.append(rows)
        require(differs(rows), f"severity {severity} changes nothing")
        finite = all(np.isfinite(row).all() for row in rows.values())
        stable = finite and (player.unstable or not player.warnings)
        require(stable, f"the simulation is unstable at severity {severity}")
    again = played(f"{family.name}~{SEVERITIES[-1]}", (SEEDS[-1], first))
    require(_equal(again[first], rows[first]), "a seed does not reproduce it")
    row.values = tuple(family.value(severity) for severity in SEVERITIES)
    whole = family.group in ("sensing", "task")
    row.deviations = player.deviations(trajectories, whole)
    # a share of few sensors or motors may be the same number of them at all severities
    strictly = not (family.contexts or family.name == "obs_stuck")
    rises = player.rises(row.deviations, whole, strictly)
    require(rises, "a higher severity does not change more")

    late = played(f"{family.name}~1@{ONSET}")
    # the observation at the onset is the first that may differ, and its reward comes
    # from before
    require(not differs(late, slice(ONSET)), "it acts before its onset")
    require(differs(late), "it does not act after its onset")

    targets = family.targets_in(env) if family.contexts else {}
    for target in ("all", "each"):
        if target not in targets:
            continue
        text = f"{family.name}:{target}=seen@change({ONSET})"
        changing = Perturbed(env, text, player.spread)
        undone = player.play(translated(changing), first)
        plain_again = _equal(undone, player.plain[first])
        require(plain_again, "who is told does not get the plain task")
        changed = player.play(changing, first)
        require(not _equal(changed, undone), f"{target} changes nothing")
        changing.undo()

    severe = Perturbed(env, f"{family.name}~1", player.spread)
    mild = player.make(f"{family.name}~{SEVERITIES[0]}")
    plain = player.make()
    # step by step in turn, so that one could reach into another
    steps = zip(
        player.steps_of(severe, first),
        player.steps_of(mild, first),
        player.steps_of(plain, first),
    )
    of_severe, of_mild, of_plain = map(np.stack, zip(*steps))
    require(_equal(of_plain, player.plain[first]), "it reaches another environment")
    same_severe = _equal(of_severe, trajectories[-1][first])
    same_mild = _equal(of_mild, trajectories[0][first])
    apart = same_severe and same_mild
    require(apart, "two perturbed environments reach each other")
    plain.close()
    mild.close()
    severe.undo()

    if before is not None:
        from spikepropamine.envs.perturbations.model import same_model

        require(same_model(task.model, before), "the model is not restored")
    require(
        _equal(player.play(env, first), player.plain[first]), "the task is not restored"
    )
    assert isinstance(env, Probe)
    require(not env.wrong_actions, "an action is not in the action space")


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.tobytes() == other.tobytes()


def verify(task: str, families: Sequence[str] = ()) -> list[Row]:
    """Verifies families in a task.

    Args:
        task: Gymnasium id.
        families: their names; empty: all of the catalogue.
    """
    quiet_mujoco()
    try:
        player = Player(task)
    except Exception as error:  # of any kind: the task may be anybody's
        return [Row(task, "none", failures=[f"it cannot be played: {one_line(error)}"])]
    return [verify_family(player, CATALOGUE[name]) for name in families or CATALOGUE]


def line(row: Row) -> str:
    """A row as a line of the table."""
    if row.reason:
        return COLUMNS.format(
            row.task, row.family, "", "", f"not applicable: {row.reason}"
        )
    values = ", ".join(f"{value:.3g}" for value in row.values)
    values += f" {CATALOGUE[row.family].unit}" if row.values else ""
    deviations = ", ".join("0" if d <= SMALLEST else f"{d:.2g}" for d in row.deviations)
    verdict = "FAILED: " + "; ".join(row.failures) if row.failures else "proven"
    return COLUMNS.format(row.task, row.family, values, deviations, verdict)


def main(arguments: Sequence[str], program: str = "spikepropamine verify") -> int:
    """Runs the command line, several tasks at a time; returns 1 if anything failed,
    else 0.
    """
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--env",
        nargs="+",
        default=list(TASKS),
        help="Gymnasium ids, or MODULE:ID (all)",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], help="names of perturbations (all)"
    )
    add_import(parser)
    options = parser.parse_args(arguments)
    split = [split_env(task) for task in options.env]
    modules = [*options.imports, *(module for _, of in split for module in of)]
    import_modules(modules)
    for name in options.only:
        if name not in CATALOGUE:
            raise UsageError(
                unknown("perturbation", name, CATALOGUE) + unless_imported()
            )
    for task, _ in split:
        check_env_id(task, modules)
    return table([task for task, _ in split], options.only)


def table(tasks: Sequence[str], names: Sequence[str] = ()) -> int:
    """Verifies families in several tasks at a time, and prints the table.

    Args:
        tasks: Gymnasium ids.
        names: of families; empty: all of the catalogue.

    Returns:
        1 if anything failed, else 0.
    """
    start = time.perf_counter()
    rows = list[Row]()
    values = f"values at severity {', '.join(map(str, SEVERITIES))}"
    print(
        COLUMNS.format("task", "perturbation", values, "deviations", "verdict"),
        flush=True,
    )
    # forked, so that they know of environments and perturbations that were imported;
    # where that is not possible (Windows), tasks are verified one by one
    workers: Any = nullcontext()
    if "fork" in multiprocessing.get_all_start_methods():
        count = min(len(tasks), common.cores())
        workers = multiprocessing.get_context("fork").Pool(count, common.become_worker)
    with workers as pool:
        for of_task in (pool.imap if pool else map)(
            partial(verify, families=names), tasks
        ):
            print("\n".join(line(row) for row in of_task), flush=True)
            rows += of_task
    applied = [row for row in rows if not row.reason]
    failed = sum(bool(row.failures) for row in applied)
    print(
        f"{len(applied) - failed} proven, {failed} failed, {len(rows) - len(applied)} "
        f"not applicable, in {time.perf_counter() - start:.0f} s; deviations are those "
        f"of the first {WINDOW} steps after any severity acts"
    )
    return int(failed > 0)
