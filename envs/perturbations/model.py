"""Editing the MuJoCo model of one environment, and putting it back exactly."""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

Edit = Callable[[Any], None]
Pairs = list[tuple[np.ndarray, np.ndarray]]


class EditableModel:
    """The model of one environment, with edits that can be undone bit for bit.

    Every change starts from the nominal model and makes all edits, so they never
    compound. What a model can express is written into the live one; a geometry is
    compiled from an edited MjSpec, whose arrays, of the same sizes, are then copied
    into the live one. So neither the environment nor its renderer needs to know. The
    environment is unwrapped, a Gymnasium MujocoEnv.

    Additions to the MjSpec are what no edit of a compiled model could bring about; with
    these the environment gets another model (and data) until `restore`.

    Raises:
        ValueError: the model is not the one of its file.
    """

    def __init__(self, task: Any, additions: Sequence[Edit] = ()) -> None:
        self._task = task
        self._additions = additions
        self._first = task.model, task.data
        if additions:
            model = self._compiled([])
            _exchange(task, model, mujoco.MjData(model))
        self._nominal = copy.copy(task.model)
        self._pairs: Pairs = []
        self._scratch: mujoco.MjData | None = None
        self._edited = False

    def restore(self) -> None:
        """Give the environment back the model that it had."""
        self._undo()
        if self._task.model is not self._first[0]:
            _exchange(self._task, *self._first)

    def apply(
        self, spec_edits: Sequence[Edit], model_edits: Sequence[Edit], constants: bool
    ) -> None:
        """Makes the nominal model, with all edits, the live one.

        Args:
            spec_edits: of an MjSpec, which is compiled; they come first.
            model_edits: of the live model.
            constants: whether MuJoCo has to recompute the model's constants
                (`mj_setConst`).
        """
        model = self._task.model
        self._undo()
        if spec_edits:
            compiled = self._compiled(spec_edits)
            _copy(_arrays(model, compiled), compiled, model)
        for edit in model_edits:
            edit(model)
        if constants:
            # on other data than the environment's, whose state it would overwrite
            if self._scratch is None:
                self._scratch = mujoco.MjData(model)
            mujoco.mj_setConst(model, self._scratch)
        self._edited = bool(spec_edits or model_edits)
        renderer = (
            getattr(self._task, "mujoco_renderer", None) if self._additions else None
        )
        for viewer in getattr(
            renderer, "_viewers", {}
        ).values():  # windows that are open
            viewer.make_context_current()
            for field in range(model.nhfield):
                mujoco.mjr_uploadHField(model, viewer.con, field)

    def find_places(self) -> None:
        """Find where the parts of the body are that it has now, in the present
        posture.
        """
        mujoco.mj_kinematics(self._task.model, self._task.data)
        mujoco.mj_comPos(self._task.model, self._task.data)

    def _undo(self) -> None:
        if self._edited:
            self._pairs = self._pairs or _arrays(self._task.model, self._nominal)
            _copy(self._pairs, self._nominal, self._task.model)
        self._edited = False

    def _compiled(self, edits: Sequence[Edit]) -> mujoco.MjModel:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # advice to the author of the file
            spec = mujoco.MjSpec.from_file(self._task.fullpath)
            for addition in self._additions:
                addition(spec)
            model = spec.compile()
            reference = self._first[0]
            if model.nq != reference.nq or not np.array_equal(
                model.body_mass, reference.body_mass
            ):
                raise ValueError(
                    f"the model is not the one that {self._task.fullpath} describes, "
                    "so its geometry cannot be changed: apply this perturbation first"
                )
            if edits:
                total = spec.compiler.settotalmass
                spec.compiler.settotalmass = -1
                before = spec.compile().body_mass.sum()
                for edit in edits:
                    edit(spec)
                if total > 0:
                    # the densities stay what the nominal total makes them
                    spec.compiler.settotalmass = (
                        total * spec.compile().body_mass.sum() / before
                    )
                model = spec.compile()
        visual = model.vis.global_
        live = reference.vis.global_
        visual.offwidth = live.offwidth
        visual.offheight = live.offheight
        return model


def same_model(one: mujoco.MjModel, other: mujoco.MjModel) -> bool:
    """Whether two models are equal, to the last bit."""
    return np.array_equal(_bytes_of(one), _bytes_of(other))


def _bytes_of(model: mujoco.MjModel) -> np.ndarray:
    buffer = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer


def _arrays(one: mujoco.MjModel, other: mujoco.MjModel) -> Pairs:
    """The arrays of two models, in pairs; views that last as long as the models."""
    names = [name for name in dir(one) if not name.startswith("_")]
    arrays = {
        name: array
        for name in names
        if isinstance(array := getattr(one, name), np.ndarray)
    }
    return [
        (array, getattr(other, name)) for name, array in arrays.items() if array.size
    ]


def _copy(pairs: Pairs, source: mujoco.MjModel, target: mujoco.MjModel) -> None:
    for into, out_of in pairs:
        np.copyto(into, out_of)
    for numbers, place in ((source.opt, target.opt), (source.stat, target.stat)):
        for name in [name for name in dir(numbers) if not name.startswith("_")]:
            if not callable(value := getattr(numbers, name)):
                setattr(place, name, value)  # of arrays, what is in them


def _exchange(task: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Give an environment another model and data, with the state that it has now."""
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(task.model, task.data, state, kind)
    mujoco.mj_setState(model, data, state, kind)
    mujoco.mj_forward(model, data)
    task.model = model
    task.data = data
    renderer = getattr(task, "mujoco_renderer", None)
    if renderer is not None:
        renderer.close()  # its windows hold the other model
        renderer.model = model
        renderer.data = data
