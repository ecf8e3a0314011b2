"""Two ways to step the simulations of one task: all in one call, or each by itself.

MuJoCo's `mujoco.batch` steps them in one call. With many simulations of a small robot
it is faster than a loop, since its threads work on data of their own, which stay in the
processor's cache. It gives arrays of what it derives, but cannot compute contact
forces. The loop works on the environments' own data, so that all of MuJoCo is at hand
between two steps.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol

import mujoco
import numpy as np

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All that the future of a simulation depends on."""


class Stepper(Protocol):
    """Steps simulations.

    Attributes:
        fields: of MjData by name, float64 [simulations, ...], after the last step.
    """

    fields: dict[str, np.ndarray]

    def step(self, actions: np.ndarray, ids: np.ndarray | None) -> None:
        """One environment step of all simulations, or of some.

        Args:
            actions: [simulations, channels].
            ids: of the simulations to step, in rising order; None: all.
        """

    def take_in(self, index: int) -> None:
        """Goes on from the state of an environment's own data."""

    def update(self, index: int) -> None:
        """Brings an environment's own data up to date."""

    def use(self, models: list[Any]) -> None:
        """Goes on with these models, one for each simulation, which were edited."""

    def close(self) -> None:
        """Ends the threads."""


class Together:
    """All in one call of `mujoco.batch`, on the first task's model until `use`.

    Args:
        tasks: the environments, unwrapped.
        fields: of MjData to read.
        threads: of MuJoCo, which step simulations at the same time.

    Raises:
        ImportError: MuJoCo is older than 3.17.
    """

    def __init__(
        self, tasks: Sequence[Any], fields: Sequence[str], threads: int
    ) -> None:
        from mujoco import batch

        self._tasks = tasks
        self._batch = batch.Batch(tasks[0].model, len(tasks), min(threads, len(tasks)))
        self._controls = self._batch.ctrl
        self._skip = tasks[0].frame_skip
        self.fields = {name: self._batch.bind(name) for name in fields}

    def step(self, actions: np.ndarray, ids: np.ndarray | None) -> None:
        """One environment step."""
        stepped = slice(None) if ids is None else ids
        self._controls[stepped] = actions[stepped]
        self._batch.step(ids, nstep=self._skip)

    def take_in(self, index: int) -> None:
        """Goes on from the state of an environment's own data."""
        task = self._tasks[index]
        mujoco.mj_getState(task.model, task.data, self._batch.state[index], STATE)

    def update(self, index: int) -> None:
        """Brings an environment's own data up to date.

        What MuJoCo derives from the state (such as `data.xpos`) is that of this very
        state; in Gymnasium it lags a simulator step behind.
        """
        task = self._tasks[index]
        state = self._batch.state[index]
        mujoco.mj_setState(task.model, task.data, state, STATE)
        mujoco.mj_forward(task.model, task.data)
        # which has changed what the solver begins with
        mujoco.mj_setState(task.model, task.data, state, STATE)

    def use(self, models: list[Any]) -> None:
        """Goes on with these models, one for each simulation, which were edited."""
        self._batch.set_models(models)

    def close(self) -> None:
        """There is nothing to end."""


class InTurn:
    """Each by itself, in the environments' own models and data.

    Args:
        tasks: the environments, unwrapped.
        fields: of MjData to read; "cfrc_ext" has contact forces.
        threads: of Python, each of which steps a part of the environments; MuJoCo lets
            go of the interpreter's lock.
    """

    def __init__(
        self, tasks: Sequence[Any], fields: Sequence[str], threads: int
    ) -> None:
        self._tasks = tasks
        data = tasks[0].data
        self.fields = {
            name: np.zeros((len(tasks), *getattr(data, name).shape)) for name in fields
        }
        self._forces = "cfrc_ext" in fields
        self._skip = tasks[0].frame_skip
        self._count = min(threads, len(tasks))
        self._pool = ThreadPoolExecutor(self._count - 1) if self._count > 1 else None

    def step(self, actions: np.ndarray, ids: np.ndarray | None) -> None:
        """One environment step."""
        indices = range(len(self._tasks)) if ids is None else ids.tolist()
        if self._pool is None:
            self._step(actions, indices)
            return
        # this thread steps the first part, the pool the others
        first, *rest = [indices[part :: self._count] for part in range(self._count)]
        others = [self._pool.submit(self._step, actions, part) for part in rest]
        try:
            self._step(actions, first)
        finally:
            wait(others)
        for other in others:
            other.result()

    def _step(self, actions: np.ndarray, indices: Sequence[int]) -> None:
        outputs = list(self.fields.items())
        for index in indices:
            task = self._tasks[index]
            model = task.model
            data = task.data
            data.ctrl[:] = actions[index]
            mujoco.mj_step(model, data, nstep=self._skip)
            if self._forces:
                mujoco.mj_rnePostConstraint(model, data)
            for name, values in outputs:
                values[index] = getattr(data, name)

    def take_in(self, index: int) -> None:
        """The data are the environment's own."""

    def update(self, index: int) -> None:
        """The data are the environment's own."""

    def use(self, models: list[Any]) -> None:
        """The models are those of the environments at any time."""

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
