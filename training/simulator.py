"""The state of MuJoCo's data and model as arrays, and back, bit for bit.

Only floating-point numbers are ever set, and integers that are no index: a wrong one of those would
lead MuJoCo out of its memory, and the arrays may come from a file.
"""

import zlib
from typing import Any

import mujoco
import numpy as np

Arrays = dict[str, np.ndarray]

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
FLAGS = (
    "geom_contype", "geom_conaffinity", "geom_condim", "geom_priority", "geom_sameframe",
    "disableflags",
)  # fmt: skip
DRAWN = ("tex_", "name", "text_", "mat_", "skin_", "paths")  # prefixes of what only shows

_names: dict[type, list[str]] = {}
_lasting: dict[tuple[int, ...], list[str]] = {}


def data_state(data: mujoco.MjData) -> Arrays:
    """The state of `data`, and what is computed of it and read before the next step: the positions
    of bodies lag behind those of the joints by a step, so that they cannot be computed again.
    """
    model = data.model
    state = np.zeros(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, data, state, STATE)
    return {"state": state} | {name: getattr(data, name) for name in _lasting_names(model)}


def set_data(data: mujoco.MjData, arrays: Arrays) -> bool:
    """Gives `data` the state that `data_state` took; False, and nothing, if its sizes differ."""
    model = data.model
    derived = {name: x for name, x in arrays.items() if name != "state"}
    state = arrays["state"]
    live = {name: getattr(data, name) for name in _lasting_names(model)}
    if state.shape != (mujoco.mj_stateSize(model, STATE),) or state.dtype != np.float64:
        return False
    if not _alike(live, derived):
        return False
    mujoco.mj_setState(model, data, state, STATE)
    mujoco.mj_forward(model, data)  # contacts
    for name, array in derived.items():
        live[name][...] = array
    return True


def model_state(model: mujoco.MjModel) -> Arrays:
    """What may change of a model while an environment runs, and a check sum of the rest."""
    check = 0
    for name in _names_of(type(model)):
        array = getattr(model, name)
        if _is_array(array, "iub") and name not in FLAGS and not name.startswith(DRAWN):
            check = zlib.crc32(np.ascontiguousarray(array).tobytes(), check)
    for part in (model.opt, model.stat):
        for name, value in _settings(part, int).items():
            if name not in FLAGS:
                check = zlib.crc32(str(value).encode(), check)
    return _settable(model) | _options(model) | {"check": np.asarray(check, dtype=np.int64)}


def set_model(model: mujoco.MjModel, arrays: Arrays) -> bool:
    """Gives a model the numbers that `model_state` took; False, and nothing, if it is another."""
    present = model_state(model)
    if not _alike(present, arrays) or arrays["check"] != present["check"]:
        return False
    for name, array in _settable(model).items():
        array[...] = arrays[name]
    for name in _options(model):
        part, field = name.split(".")
        value = arrays[name]
        setattr(getattr(model, part), field, value if value.ndim else value.item())
    return True


def _alike(one: Arrays, other: Arrays) -> bool:
    """Whether names, shapes and types are the same."""
    return one.keys() == other.keys() and all(
        x.shape == other[name].shape and x.dtype == other[name].dtype for name, x in one.items()
    )


def _settable(model: mujoco.MjModel) -> Arrays:
    """Views of the arrays that may be set."""
    arrays = {name: getattr(model, name) for name in _names_of(type(model))}
    return {
        name: x
        for name, x in arrays.items()
        if name in FLAGS or (_is_array(x, "f") and not name.startswith(DRAWN))
    }


def _options(model: mujoco.MjModel) -> Arrays:
    parts = {"opt": model.opt, "stat": model.stat}
    return {
        f"{name}.{field}": np.array(value)
        for name, part in parts.items()
        for field, value in _settings(part, float | np.ndarray | int).items()
        if not isinstance(value, int) or field in FLAGS
    }


def _settings(part: Any, kind: Any) -> dict[str, Any]:
    found = {name: getattr(part, name) for name in _names_of(type(part))}
    return {name: value for name, value in found.items() if isinstance(value, kind)}


def _is_array(thing: Any, kinds: str) -> bool:
    return isinstance(thing, np.ndarray) and thing.size > 0 and thing.dtype.kind in kinds


def _names_of(cls: type) -> list[str]:
    if cls not in _names:
        _names[cls] = [name for name in dir(cls) if not name.startswith("_")]
    return _names[cls]


def _lasting_names(model: mujoco.MjModel) -> list[str]:
    """Floating-point arrays of a model's data that are as long whatever touches what."""
    sizes = tuple(getattr(model, name) for name in _names_of(type(model)) if name.startswith("n"))
    sizes = tuple(size for size in sizes if isinstance(size, int))
    if sizes not in _lasting:
        data = mujoco.MjData(model)
        names = _names_of(type(data))
        _lasting[sizes] = [name for name in names if _is_array(getattr(data, name), "f")]
    return _lasting[sizes]
