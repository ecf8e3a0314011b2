"""Pictures of environments without a display: finding a way to draw MuJoCo, and a
camera.
"""

import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

if TYPE_CHECKING:
    import mujoco

# Windows and macOS draw by what they bring; elsewhere these do without a display
BACKENDS = {"win32": ("wgl",), "darwin": ("cgl",)}.get(sys.platform, ("egl", "osmesa"))
INSTALL = (
    "on Debian or Ubuntu: apt-get install libegl1 libgl1 (or: apt-get install "
    "libosmesa6)"
)
PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco/>")
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(mujoco.MjData(model))
renderer.render()
"""
# degrees and a share of the distance: what runs is seen best from nearby and not from
# high above
ELEVATION = -20.0
NEARER = 0.75
# seconds by which the camera follows late, so that one sees where a robot runs, and a
# share of the camera's distance, by which it may be behind, so that a fast one stays in
# the picture
LAG = 0.35
BEHIND = 0.2


class CannotDraw(Exception):
    """An environment that no picture can be made of, explained in one line."""


def choose_backend() -> str | None:
    """Finds what draws MuJoCo without a display, and sets `MUJOCO_GL` to it.

    Call it before MuJoCo is imported, which reads that variable once. Each candidate
    draws a picture in a process of its own (under a second each), because a failed one
    cannot be unloaded. A value that the user has set is the only candidate. None:
    nothing works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    candidates = [chosen] if chosen else BACKENDS
    command = [sys.executable, "-c", PROBE]
    for backend in candidates:
        drawn_by = os.environ | {"MUJOCO_GL": backend}
        probe = subprocess.run(command, env=drawn_by, capture_output=True, check=False)
        if probe.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return backend
    return None


def cannot_draw() -> str:
    """Why MuJoCo cannot draw here, and what would help, in one line."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return (
            f"MuJoCo cannot draw with MUJOCO_GL={chosen}; unset it, or install what it "
            "needs"
        )
    if sys.platform in ("win32", "darwin"):
        return "MuJoCo cannot draw outside of a desktop session"
    return (
        "MuJoCo cannot draw, since neither EGL nor OSMesa works; install one, "
        f"{INSTALL}"
    )


class Camera:
    """Takes pictures of one environment, [height, width, 3]: of a MuJoCo robot by
    itself, else by `render`, for which it was made with render_mode="rgb_array". It is
    not closed.

    MuJoCo is drawn by its own renderer, not by Gymnasium's, of which two in one process
    disturb each other; without shadows and reflections, which would take most of the
    time. Raises CannotDraw where the environment has no pictures, or nothing here can
    draw them.
    """

    def __init__(self, env: gym.Env, width: int, height: int) -> None:
        self.env = env
        self.width = width
        self.height = height
        self._task: Any = env.unwrapped
        self._renderer: Any = None
        self._model: Any = None
        self._lookat = np.zeros(3)
        self._time = np.inf  # of the last picture
        self._is_mujoco = is_mujoco(env)
        if not self._is_mujoco and env.render_mode != "rgb_array":
            name = env.spec.id if env.spec else type(self._task).__name__
            raise CannotDraw(
                f"{name} has no render mode rgb_array, so it cannot be filmed"
            )

    def picture(self) -> np.ndarray:
        """The environment as it is now, uint8 [height, width, 3]. Raises CannotDraw, as
        above.
        """
        if self._is_mujoco:
            return self._robot()
        try:
            frame: Any = self.env.render()
        except (
            gym.error.Error,
            ImportError,
        ) as error:  # a package for drawing is missing
            raise CannotDraw(str(error)) from error
        from PIL import Image, ImageOps

        size = (self.width, self.height)
        picture = Image.fromarray(np.asarray(frame, np.uint8))
        return np.asarray(
            ImageOps.pad(picture, size, Image.Resampling.LANCZOS, "white")
        )

    def close(self) -> None:
        """Frees what drawing took."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _robot(self) -> np.ndarray:
        import mujoco

        model = self._task.model
        if (
            self._renderer is None or self._model is not model
        ):  # some perturbations replace it
            self.close()
            self._model = model
            self._renderer = _renderer(model, self.width, self.height)
            self._view = view(self._task)
        for field in range(model.nhfield):  # ground that may have been reshaped
            mujoco.mjr_uploadHField(model, self._renderer._mjr_context, field)
        data = self._task.data
        tracked = self._view.trackbodyid
        if tracked >= 0:
            centre = data.subtree_com[tracked]
            late = (
                np.exp((self._time - data.time) / LAG)
                if self._time < data.time
                else 0.0
            )
            behind = late * (self._lookat - centre)
            most = BEHIND * self._view.distance
            self._lookat = centre + behind * most / max(most, np.linalg.norm(behind))
            self._time = data.time
            self._view.lookat[:] = self._lookat
        self._renderer.update_scene(data, self._view)
        if tracked >= 0:
            move_ground(model, self._renderer.scene, centre)
        return self._renderer.render()


def drawing_arguments(env: gym.Env) -> dict[str, Any]:
    """What the constructor of an environment needs, besides, for a `Camera` to work."""
    modes = env.metadata.get("render_modes") or ()
    return (
        {"render_mode": "rgb_array"}
        if not is_mujoco(env) and "rgb_array" in modes
        else {}
    )


def is_mujoco(env: gym.Env) -> bool:
    """Whether MuJoCo simulates an environment, by a `model` and `data` of its own."""
    parts = (getattr(env.unwrapped, name, None) for name in ("model", "data"))
    return all(type(part).__module__.split(".")[0] == "mujoco" for part in parts)


def _renderer(model: "mujoco.MjModel", width: int, height: int) -> Any:
    import mujoco

    visual = model.vis.global_
    visual.offwidth = max(visual.offwidth, width)
    visual.offheight = max(visual.offheight, height)
    try:
        with warnings.catch_warnings():
            # GLFW's, before it fails: the error says it better
            warnings.simplefilter("ignore")
            renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # each backend fails in a way of its own
        raise CannotDraw(cannot_draw()) from error
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    return renderer


def view(task: Any) -> Any:
    """A camera as Gymnasium sets it up where it says how to look; `trackbodyid` is the
    body that it is to follow, -1 for none.
    """
    import mujoco

    settings = dict(task.mujoco_renderer.default_cam_config or {})
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(task.model, camera)
    for name, value in settings.items():
        setattr(camera, name, value)
    runs = task.model.nbody > 1 and task.model.body_dofnum[1] > 1
    if runs and "elevation" not in settings:
        camera.elevation = ELEVATION
        camera.distance *= NEARER
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    if runs:  # `Camera` moves it
        camera.trackbodyid = max(camera.trackbodyid, 1)
    return camera


def move_ground(
    model: "mujoco.MjModel", scene: "mujoco.MjvScene", centre: np.ndarray
) -> None:
    """Draws the ground below the robot, which else runs off the drawn part of it.

    To MuJoCo's physics every plane is infinite. It moves by whole periods of its
    texture, so that nothing can be seen of it.

    Args:
        model: of the robot.
        scene: what is drawn; its planes are moved.
        centre: where the robot is, float [3], in metres.
    """
    import mujoco

    for number in range(scene.ngeom):
        shape = scene.geoms[number]
        if (
            shape.type != mujoco.mjtGeom.mjGEOM_PLANE
            or shape.objtype != mujoco.mjtObj.mjOBJ_GEOM
        ):
            continue
        size = model.geom_size[shape.objid, :2]
        material = model.geom_matid[shape.objid]
        if material < 0 or not size.all():  # one that is drawn without an end
            continue
        axes = shape.mat.reshape(3, 3)[:, :2]
        repeats = np.maximum(model.mat_texrepeat[material], 1)
        period = 1 / repeats if model.mat_texuniform[material] else 2 * size / repeats
        away = axes.T @ (centre - shape.pos)
        shape.pos = shape.pos + axes @ (np.round(away / period) * period)
