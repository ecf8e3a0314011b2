"""Editing the MuJoCo model of one environment, and putting it back exactly."""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

Edit = Callable[[Any], None]


class EditableModel:
    """The model of one environment, with edits that can be undone bit for bit.

    Every change starts from the nominal model, so edits never compound. What a model can express
    is written into the live one; a geometry is compiled from an edited MjSpec, whose arrays, of
    the same sizes, are then copied into the live one. So neither the environment nor its renderer
    needs to know.

    Args:
        task: the unwrapped environment, a Gymnasium MujocoEnv.
        additions: what to add to the MjSpec beforehand. Where there are any, the environment gets
            another model (and data) until `close`.

    Raises:
        ValueError: geometry is to be edited, but the model is not the one of its file.
    """

    def __init__(self, task: Any, additions: Sequence[Edit] = ()) -> None:
        self._task = task
        self._first = task.model, task.data
        self._additions = additions
        if additions:
            _replace(task, self._compile([]))
        self._live = task.model
        self._nominal = copy.copy(self._live)
        self._pairs = _arrays(self._live, self._nominal)
        self._scratch: mujoco.MjData | None = None
        self.edited = False

    def edit(
        self, spec_edits: Sequence[Edit], model_edits: Sequence[Edit], constants: bool
    ) -> None:
        """Make the nominal model with these edits the live one; none at all restores it.

        Args:
            spec_edits: applied to an MjSpec, which is compiled.
            model_edits: applied to the live model, after them.
            constants: whether to recompute what MuJoCo derives from masses, inertias and gains.
        """
        if self.edited:
            _copy(self._pairs, self._nominal, self._live)
        if spec_edits:
            compiled = self._compile(spec_edits)
            _copy(_arrays(self._live, compiled), compiled, self._live)
        for edit in model_edits:
            edit(self._live)
        if constants and model_edits:
            # on other data than the environment's, whose state it would overwrite
            if self._scratch is None:
                self._scratch = mujoco.MjData(self._live)
            mujoco.mj_setConst(self._live, self._scratch)
        self.edited = bool(spec_edits or model_edits)
        if self._additions:
            _upload_heights(self._task)

    def close(self) -> None:
        """Restore the model, and give the environment back its first one."""
        self.edit([], [], False)
        if self._additions:
            _exchange(self._task, *self._first)

    def _compile(self, edits: Sequence[Edit]) -> mujoco.MjModel:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # advice to the author of the file
            return self._compiled(edits)

    def _compiled(self, edits: Sequence[Edit]) -> mujoco.MjModel:
        spec = mujoco.MjSpec.from_file(self._task.fullpath)
        for addition in self._additions:
            addition(spec)
        nominal = spec.compile()
        reference = self._first[0]
        same = nominal.nq == reference.nq and np.array_equal(nominal.body_mass, reference.body_mass)
        if not same:
            raise ValueError(
                f"the model is not the one that {self._task.fullpath} describes, so its geometry "
                "cannot be changed: apply this perturbation first"
            )
        if edits:
            total = spec.compiler.settotalmass
            spec.compiler.settotalmass = -1
            before = spec.compile().body_mass.sum()
            for edit in edits:
                edit(spec)
            if total > 0:
                # the densities stay what the nominal total makes them
                spec.compiler.settotalmass = total * spec.compile().body_mass.sum() / before
            nominal = spec.compile()
        visual, live = nominal.vis.global_, reference.vis.global_
        visual.offwidth, visual.offheight = live.offwidth, live.offheight
        return nominal


def same_model(one: mujoco.MjModel, other: mujoco.MjModel) -> bool:
    """Whether two models are equal, to the last bit."""
    return bool(np.array_equal(_bytes(one), _bytes(other)))


def _bytes(model: mujoco.MjModel) -> np.ndarray:
    buffer = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer


def _arrays(one: mujoco.MjModel, other: mujoco.MjModel) -> list[tuple[np.ndarray, np.ndarray]]:
    """The arrays of two models, in pairs; views that last as long as the models."""
    pairs = []
    for name in dir(one):
        if name.startswith("_"):
            continue
        array = getattr(one, name)
        if isinstance(array, np.ndarray) and array.size:
            pairs.append((array, getattr(other, name)))
    return pairs


def _copy(
    pairs: list[tuple[np.ndarray, np.ndarray]], source: mujoco.MjModel, target: mujoco.MjModel
) -> None:
    for into, out_of in pairs:
        np.copyto(into, out_of)
    _copy_numbers(source.opt, target.opt)
    _copy_numbers(source.stat, target.stat)


def _copy_numbers(source: Any, target: Any) -> None:
    for name in dir(source):
        if name.startswith("_"):
            continue
        value = getattr(source, name)
        if isinstance(value, np.ndarray):
            np.copyto(getattr(target, name), value)
        elif not callable(value):
            setattr(target, name, value)


def _replace(task: Any, model: mujoco.MjModel) -> None:
    """Give an environment another model, with the state that it has now."""
    _exchange(task, model, mujoco.MjData(model))


def _exchange(task: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(task.model, task.data, state, kind)
    mujoco.mj_setState(model, data, state, kind)
    mujoco.mj_forward(model, data)
    task.model, task.data = model, data
    renderer = getattr(task, "mujoco_renderer", None)
    if renderer is not None:
        renderer.close()  # its windows hold the other model
        renderer.model, renderer.data = model, data


def _upload_heights(task: Any) -> None:
    """Show the present height fields in windows that are open."""
    for viewer in getattr(getattr(task, "mujoco_renderer", None), "_viewers", {}).values():
        viewer.make_context_current()
        for field in range(task.model.nhfield):
            mujoco.mjr_uploadHField(task.model, viewer.con, field)
