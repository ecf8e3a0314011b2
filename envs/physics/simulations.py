"""Many environments of one MuJoCo task, stepped in one call: `Simulations`."""

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.perturbations.model import same_model
from spikepropamine.envs.perturbations.rows import PerturbedRows
from spikepropamine.envs.physics import known
from spikepropamine.envs.physics.robots import Infos, NotKnown, Readings, Robot
from spikepropamine.envs.physics.stepping import InTurn, Stepper, Together

PROOF_STEPS = 12
PROOF_ROWS = 2
"""How much of a task is compared with Gymnasium before it is stepped here."""
PLACED = {"qpos", "xpos", "xipos"}
"""Fields that a place is read from."""


@dataclass(frozen=True)
class Stepped:
    """What a step gives, by simulation; every array is new.

    Attributes:
        observations: float64 [simulations, channels].
        rewards: float64 [simulations].
        terminated: bool [simulations].
        truncated: bool [simulations].
        infos: entries of `info` by name, [simulations, ...].
        dicts: the infos of each simulation, where wrappers have changed them.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: Infos
    dicts: list[dict[str, Any]] | None = None

    def each_info(self) -> list[dict[str, Any]]:
        """The infos as one dict for each simulation."""
        if self.dicts is not None:
            return self.dicts
        if not self.infos:
            return [{} for _ in self.rewards]
        names = list(self.infos)
        return [dict(zip(names, values)) for values in zip(*self.infos.values())]


class Simulations:
    """Steps environments of one of Gymnasium's v5 MuJoCo tasks in one call.

    What it gives is what the environments give when Gymnasium steps them one by one, to
    the last bit, whatever the number of threads. Episodes begin in the environments
    themselves, so that seeds and draws are theirs. In between, an environment's own
    data may stay as they were, until `update` brings them up to date.

    Made with `simulate`, which first sees whether the environments are known.

    Args:
        envs: as `gymnasium.make` makes them, alike but for their seeds.
        robot: the record of their task.
        limit: of an episode, in steps; None: there is none.
        threads: which step simulations at the same time.
    """

    def __init__(
        self,
        envs: Sequence[gym.Env],
        robot: Robot,
        limit: int | None,
        threads: int,
    ) -> None:
        self.envs = list(envs)
        self.robot = robot
        self.limit = limit
        self.tasks: list[Any] = [env.unwrapped for env in self.envs]
        first = self.tasks[0]
        self._models = [task.model for task in self.tasks]
        self._nominal = copy.copy(first.model)
        self._constants = known.constants(first)
        self._stepper = self._make_stepper(threads)
        self._readings = Readings(
            first,
            self._models,
            self._stepper.fields,
            forward_weight=getattr(first, "_forward_reward_weight", None),
        )
        self._places: np.ndarray | None = None
        self._elapsed = np.zeros(len(self.tasks), dtype=np.int64)
        self._begun = np.zeros(len(self.tasks), dtype=bool)
        self._ready = False  # whether all have begun
        self._shape = len(self.tasks), first.model.nu
        self._dt = first.dt

    def _make_stepper(self, threads: int) -> Stepper:
        """What steps these tasks fastest."""
        fields = ["qpos", "qvel", "ctrl", *self.robot.fields]
        first = self.tasks[0]
        alike = all(same_model(first.model, model) for model in self._models[1:])
        # a picture shows all that MuJoCo derives
        if alike and not self.robot.feels and first.render_mode is None:
            with suppress(ImportError):
                return Together(self.tasks, fields, threads)
        return InTurn(self.tasks, fields, threads)

    def __len__(self) -> int:
        return len(self.envs)

    def reset(
        self, index: int, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode of one environment.

        Args:
            index: of the environment.
            seed: of the episode; None: the next that the environment draws.
            options: of the environment.

        Returns:
            Its observation and info.
        """
        observation, info = self.envs[index].reset(seed=seed, options=options)
        self.began(index)
        return observation, info

    def began(self, index: int) -> None:
        """After somebody else has reset an environment: goes on from there."""
        self._elapsed[index] = 0
        self._begun[index] = True
        self._ready = bool(self._begun.all())
        self.take_in(index)

    def step(self, actions: np.ndarray, ids: np.ndarray | None = None) -> Stepped:
        """One step.

        Args:
            actions: [simulations, channels], of any type of numbers.
            ids: of the simulations to step, rising; None: all. What is returned of the
                others means nothing.

        Raises:
            ResetNeeded: an environment has no episode yet.
            ValueError: actions of another shape.
        """
        actions = np.asarray(actions)
        if actions.shape != self._shape:
            raise ValueError(
                f"actions have the shape {actions.shape}, not {self._shape}"
            )
        if (
            not self._ready
            and not self._begun[slice(None) if ids is None else ids].all()
        ):
            raise gym.error.ResetNeeded("Cannot step before the first reset")
        stepped = slice(None) if ids is None else ids
        self._stepper.step(actions, ids)
        readings = self._readings
        readings.actions = actions
        if self.robot.place is not None:
            assert self._places is not None
            places = self.robot.place(readings)
            readings.velocity = (places - self._places) / self._dt
            self._places[stepped] = places[stepped]
        outcome = self.robot.judge(readings)
        self._elapsed[stepped] += 1
        limit = np.inf if self.limit is None else self.limit
        return Stepped(
            self.robot.observe(readings),
            outcome.rewards,
            outcome.terminated,
            self._elapsed >= limit,
            outcome.infos,
        )

    def take_in(self, index: int) -> None:
        """Goes on from the state that an environment's own data have now."""
        self._stepper.take_in(index)
        if self.robot.place is None:
            return
        task = self.tasks[index]
        names = PLACED & self._stepper.fields.keys()
        fields = {name: getattr(task.data, name)[None] for name in names}
        place = self.robot.place(Readings(task, [task.model], fields))
        if self._places is None:
            self._places = np.zeros((len(self), *place.shape[1:]))
        self._places[index] = place[0]

    def update(self, index: int) -> None:
        """Brings an environment's own data, and its count of steps, up to date."""
        if not self._begun[index]:
            return
        self._stepper.update(index)
        env: Any = self.envs[index]
        while isinstance(env, gym.Wrapper):
            if isinstance(env, gym.wrappers.TimeLimit):
                limit: Any = env
                limit._elapsed_steps = int(self._elapsed[index])
            env = env.env

    def changed(self, index: int) -> bool:
        """Whether an environment was given another model or other constants."""
        task = self.tasks[index]
        return (
            task.model is not self._models[index]
            or known.constants(task) != self._constants
            or not same_model(task.model, self._nominal)
        )

    def close(self) -> None:
        """Ends the threads; the environments stay open."""
        self._stepper.close()


class Layered(Simulations):
    """Simulations whose environments are in wrappers of this project.

    A wrapper acts in the environment that it wraps, with the random numbers and the
    memory of that one; between two of its acts all environments are stepped in one
    call. So each environment may have its own model.

    Args:
        envs, robot, limit, threads: as of `Simulations`.
        layers: the wrappers of each environment, the outermost first; of all the same
            kinds, with the same arguments but for texts of perturbations.
    """

    def __init__(
        self,
        envs: Sequence[gym.Env],
        robot: Robot,
        limit: int | None,
        threads: int,
        layers: list[list[Any]],
    ) -> None:
        self._by_depth = list(zip(*layers, strict=True))
        self._perturbed: list[Perturbed | None] = [
            next((layer for layer in wrappers if isinstance(layer, Perturbed)), None)
            for wrappers in layers
        ]
        perturbed = [layer for layer in self._perturbed if layer is not None]
        self._rows = PerturbedRows(perturbed) if perturbed else None
        self._edited = any(env and env.edits_model for env in self._perturbed)
        super().__init__(envs, robot, limit, threads)
        self._dtype = self.tasks[0].action_space.dtype
        weight = self._readings.forward_weight
        self._weights = [] if weight is None else [weight] * len(self)

    def _make_stepper(self, threads: int) -> Stepper:
        """Those into whose data a perturbation reaches are stepped in turn."""
        if any(env and env.reaches_in for env in self._perturbed):
            fields = ["qpos", "qvel", "ctrl", *self.robot.fields]
            return InTurn(self.tasks, fields, threads)
        return super()._make_stepper(threads)

    def take_in(self, index: int) -> None:
        """Goes on from the state, and the model, that an environment has now."""
        perturbed = self._perturbed[index]
        task = self.tasks[index]
        if perturbed is not None and perturbed.edits_model:
            self._models[index] = task.model
            self._edited = True
        super().take_in(index)
        if self._weights and self._weights[index] != task._forward_reward_weight:
            self._weights[index] = task._forward_reward_weight
            self._readings.forward_weight = np.array(self._weights)

    def step(self, actions: np.ndarray, ids: np.ndarray | None = None) -> Stepped:
        """One step of perturbed environments, as `Simulations.step`.

        Args:
            actions: [simulations, channels], of the dtype of the action space.
            ids: of the simulations to step, rising; None: all.

        Raises:
            ResetNeeded: an environment has no episode yet.
            TypeError: actions of another type than those of the action space.
        """
        actions = np.asarray(actions)
        if actions.dtype != self._dtype:
            raise TypeError(
                f"actions of perturbed environments are {self._dtype}, not "
                f"{actions.dtype}"
            )
        indices = list(range(len(self))) if ids is None else ids.tolist()
        arrived = actions
        if self._rows is not None:
            arrived = actions.copy()
            arrived[indices] = self._rows.before(indices, actions[indices])
        if self._edited:
            self._stepper.use(self._models)
            self._edited = False
        stepped = super().step(arrived, ids)
        infos = stepped.each_info()
        shape = self.envs[0].observation_space.shape or ()
        observations = np.zeros((len(self), *shape))
        if indices:
            observations[indices] = self._seen(indices, stepped, actions, infos)
        return replace(stepped, observations=observations, dicts=infos)

    def _seen(
        self,
        indices: list[int],
        stepped: Stepped,
        actions: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> np.ndarray:
        """The observations that come out of the wrappers, [indices, channels]; infos
        change, too.
        """
        seen = stepped.observations[indices]
        for layers in reversed(self._by_depth):
            if self._rows is not None and isinstance(layers[0], Perturbed):
                for index in self._rows.count(indices):
                    self._move_on(index, layers[index], infos[index])
                seen = self._rows.observe(
                    indices, seen, [infos[index] for index in indices]
                )
            else:
                # all are alike, and none has a memory
                seen = layers[0].extended_rows(
                    seen,
                    [infos[index] for index in indices],
                    actions[indices],
                    stepped.rewards[indices],
                )
        return seen

    def _move_on(self, index: int, layer: Perturbed, info: dict[str, Any]) -> None:
        """Lets a perturbation change with the step."""
        if layer.reads_posture:
            # where a joint locks depends on the posture
            self.tasks[index].data.qpos[:] = self._readings.qpos[index]
        # no task that is known here has to be observed again
        layer.move_on(None, info)
        if layer.edited:
            self._reread(index)

    def _reread(self, index: int) -> None:
        """Finds what a perturbation has edited."""
        self._stepper.update(index)
        self.take_in(index)

    def changed(self, index: int) -> bool:
        """Whether an environment was given other constants; models differ anyway."""
        now = known.constants(self.tasks[index])
        expected = dict(self._constants)
        for constants in (now, expected):
            constants.pop("_forward_reward_weight", None)
        return now != expected


def simulate(envs: Sequence[gym.Env], threads: int = 1) -> Simulations:
    """The environments, to be stepped in one call.

    Args:
        envs: as `gymnasium.make` makes them, alike but for their seeds.
        threads: which step simulations at the same time.

    Raises:
        NotKnown: Gymnasium has to step these environments; the message says why.
    """
    tasks = [env.unwrapped for env in envs]
    robot = known.robot_of(tasks[0])
    known.check_alike(tasks)
    limits = {known.limit_of(env) for env in envs}
    if len(limits) > 1:
        raise NotKnown("their episodes have different limits")
    layers = [known.layers_of(env) for env in envs]
    if len({tuple(map(type, wrappers)) for wrappers in layers}) > 1:
        raise NotKnown("their wrappers differ")
    _prove(tasks[0], robot)
    if any(layers):
        return Layered(envs, robot, limits.pop(), threads, layers)
    return Simulations(envs, robot, limits.pop(), threads)


_proven: dict[
    tuple[str, str], bool
] = {}  # tasks, each with its arguments, of this process


def _prove(task: Any, robot: Robot) -> None:
    """Raises NotKnown unless first steps of a task's twins are equal in both ways."""
    arguments = (
        getattr(task, "_ezpickle_args", ()),
        getattr(task, "_ezpickle_kwargs", {}),
    )
    key = type(task).__name__, repr(arguments)
    if key not in _proven:
        _proven[key] = _equal(task, robot)
    if not _proven[key]:
        versions = f"Gymnasium {gym.__version__} with MuJoCo {mujoco.__version__}"
        raise NotKnown(f"{versions} gives other numbers for {type(task).__name__}")


def _equal(task: Any, robot: Robot) -> bool:
    rows = range(PROOF_ROWS)
    theirs = [copy.deepcopy(task) for _ in rows]
    ours = [copy.deepcopy(task) for _ in rows]
    simulations = Simulations(ours, robot, limit=None, threads=1)
    for row in rows:
        theirs[row].reset(seed=row)
        simulations.reset(row, seed=row)
    random = np.random.default_rng(0)
    low = task.action_space.low
    high = task.action_space.high
    equal = True
    for _ in range(PROOF_STEPS):
        actions = random.uniform(low, high, (PROOF_ROWS, *low.shape)).astype(low.dtype)
        stepped = simulations.step(actions)
        infos = stepped.each_info()
        for row in rows:
            observation, reward, terminated, _, info = theirs[row].step(actions[row])
            equal &= stepped.observations[row].tobytes() == observation.tobytes()
            equal &= stepped.rewards[row] == reward
            equal &= stepped.terminated[row] == terminated
            equal &= all(map(_same, infos[row].items(), info.items()))
    for env in [*theirs, *ours]:
        env.close()
    return bool(equal)


def _same(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    """Whether two entries have the same name and numbers of the same type."""
    (name, value), (expected_name, expected) = one, other
    same_kind = name == expected_name and type(value) is type(expected)
    return same_kind and np.asarray(value).tobytes() == np.asarray(expected).tobytes()
