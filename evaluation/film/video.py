"""Videos of a policy: the robot or the task, beside a panel that looks into the
network.

An episode is run twice: once to learn how long it is and what the scales of its panel
have to be, and once to be drawn, frame by frame, so that memory does not grow with its
length.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spikepropamine.common import CLEAN_KEY, progress_bar, whole_file
from spikepropamine.envs.rendering import Camera, drawing_arguments
from spikepropamine.evaluation.ask.conditions import Condition, Task, make_env
from spikepropamine.evaluation.ask.lesions import Hook, Lesion, Wave, is_plastic
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.film.panel import (
    INK,
    MARK,
    REWARD_RATES,
    Outline,
    Panel,
)
from spikepropamine.evaluation.run.watched import Moment, watch
from spikepropamine.evaluation.run.work import width_of
from spikepropamine.folder import plain_name
from spikepropamine.policies.deployed import DeployedPolicy

WIDTH, HEIGHT = 512, 384  # of a picture, and of a panel, in pixels
REWARD_HEIGHT = 136  # of a panel that has nothing but the reward rate
BAR = 24  # of a line of text
FASTEST = 60  # frames per second; a task with a finer clock shows some steps only
UNTIMED = 20  # seconds that an episode lasts about, of a task without a clock
LONGEST = 10_000  # steps of an episode that does not end by itself


@dataclass(frozen=True)
class Take:
    """One of the episodes that a video shows at the same time."""

    # the environment, given more arguments for its constructor
    make: Callable[[dict[str, Any]], gym.Env]
    name: str = ""  # what sets it apart from the others; empty where there are none
    # makes the lesion, afresh for each run of the episode; None: there is none
    hook: Callable[[], Hook] | None = None


def film_run(
    run: Run,
    task: Task,
    condition: Condition,
    seed: int,
    lesions: Sequence[Lesion],
    folder: Path,
    deterministic: bool = True,
) -> tuple[Path, list[float]]:
    """Films one episode of a run, as `folder`/POLICY-seedN-CONDITION.mp4; N is the seed
    of its training.

    It is the episode that the evaluation has of that seed, to the last bit, in a
    condition without a lesion.

    Args:
        run: whose policy acts.
        task: in which it acts.
        condition: of the task.
        seed: of the episode.
        lesions: shown side by side with the intact policy, if there is plasticity to be
            taken away.
        folder: of the video; it is made where it is missing.
        deterministic: whether actions are the likeliest, or sampled.

    Returns:
        The path, and the returns of the episodes shown.

    Raises:
        CannotDraw: see `film`.
    """

    def make(arguments: dict[str, Any]) -> gym.Env:
        arguments = dict(task.arguments) | arguments
        return make_env(
            replace(task, arguments=arguments), condition, run.previous, run.revealed
        )

    width = width_of(task)
    name = f"{run.name}-seed{run.seed}-{condition.key}"
    takes = [Take(make)]
    if lesions and is_plastic(run.policy):
        policy: Any = run.policy.policy
        wave = Wave(policy.layout, [seed], width, condition.freeze_at(task.horizon))
        takes = [Take(make, "plastic")]
        for lesion in lesions:
            takes.append(Take(make, lesion.words, partial(lesion.hook, wave)))
        name += "-side-by-side"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plain_name(name)}.mp4"
    parts = [f"{run.name} on {task.environment}"]
    if condition.text:
        parts.append(condition.text)
    elif condition.key != CLEAN_KEY:
        parts.append(condition.key)
    parts.append(f"{run.steps:,} steps of training")
    if not deterministic:
        parts.append("sampled actions")
    returns = film(
        path,
        run.policy,
        takes,
        seed,
        ", ".join(parts),
        width=width,
        deterministic=deterministic,
    )
    return path, returns


def film(
    path: Path,
    policy: DeployedPolicy,
    takes: Sequence[Take],
    seed: int,
    title: str,
    *,
    max_steps: int = LONGEST,
    width: int = 1,
    deterministic: bool = True,
    progress: bool = True,
) -> list[float]:
    """Makes a video of the episode of a seed in each of the takes: H.264 in 4:2:0,
    playable while it loads, at the pace of the task's own clock.

    Args:
        path: of the file, which appears once it is complete, in a folder that exists.
        policy: acts.
        takes: shown at the same time.
        seed: of the episode.
        title: shown above.
        max_steps: after which an episode is cut.
        width: rows of a batch; see `watch`.
        deterministic: whether actions are the likeliest, or sampled.
        progress: whether a bar is shown.

    Returns:
        The return of each take.

    Raises:
        CannotDraw: the environment has no pictures, or nothing here can draw them.
    """

    def run(take: Take, env: gym.Env) -> Iterator[Moment]:
        hook = None if take.hook is None else take.hook()
        moments = watch(
            policy, env, seed, hook=hook, width=width, deterministic=deterministic
        )
        return islice(moments, max_steps + 1)

    with closing(takes[0].make({})) as plain:
        clock = plain.metadata.get("render_fps")
        arguments = drawing_arguments(plain)
    with ExitStack() as opened:
        envs = [opened.enter_context(closing(take.make(arguments))) for take in takes]
        outlines = [
            _survey(run(take, env), take.name, colour)
            for env, take, colour in zip(envs, takes, cycle(REWARD_RATES))
        ]
        steps = max(len(outline.rewards) for outline in outlines)
        rate, stride = pace(clock, steps)
        stacked = len(takes) > 1 or outlines[0].last.spikes is None
        scenes: list[_Scene] = []
        for number, (take, env, outline) in enumerate(zip(takes, envs, outlines)):
            tall = REWARD_HEIGHT if outline.last.spikes is None else HEIGHT
            panel = Panel(
                [outline, *outlines[:number], *outlines[number + 1 :]], WIDTH, tall
            )
            camera = opened.enter_context(closing(Camera(env, WIDTH, HEIGHT)))
            scenes.append(_Scene(camera, run(take, env), panel, stacked))
        across = WIDTH * (len(takes) if stacked else 2)
        header = np.full((BAR, across, 3), INK, dtype=np.uint8)
        header = written(header, title, f"episode {seed}")
        height = BAR + HEIGHT + (len(scenes[0].panel.canvas) if stacked else 0)
        bar = progress_bar(
            steps + 1, "steps", desc=path.stem, leave=False, disable=not progress
        )
        with bar, mp4(path, across, height, rate) as add:
            for step in range(steps + 1):
                for scene in scenes:
                    scene.advance()
                if step % stride == 0 or step == steps:
                    pictures = np.concatenate(
                        [scene.frame() for scene in scenes], axis=1
                    )
                    add(np.concatenate([header, pictures]))
                bar.update()
    return [float(outline.rewards.sum()) for outline in outlines]


def check_drawing(make: Callable[[dict[str, Any]], gym.Env]) -> None:
    """Raises CannotDraw unless a picture of the environment can be made; `make` as in
    `Take`.
    """
    with closing(make({})) as plain:
        arguments = drawing_arguments(plain)
    with closing(make(arguments)) as env:
        env.reset(seed=0)
        with closing(Camera(env, WIDTH, HEIGHT)) as camera:
            camera.picture()


def pace(clock: float | None, steps: int) -> tuple[Fraction, int]:
    """How fast the frames of a video follow each other.

    Args:
        clock: steps per second of the task; None where it has no clock.
        steps: of the episode.

    Returns:
        Frames per second, and how many steps go into one frame.
    """
    if clock is None:
        clock = min(max(steps / UNTIMED, 2), 30)
    stride = ceil(clock / FASTEST)
    return Fraction(clock).limit_denominator(100) / stride, stride


def _survey(moments: Iterator[Moment], name: str, colour: str) -> Outline:
    """What a first run of an episode tells."""
    rewards: list[float] = []
    onsets: list[int] = []
    acting: set[str] = set()
    largest = 0.0
    for step, moment in enumerate(moments):
        now = set(acting_now(moment.info))
        if step:  # what acts from the start is how the world is, and no change
            rewards.append(moment.reward)
            if now - acting or moment.info.get("context_began") == step:
                onsets.append(step)
        acting = now
        if moment.fast_weights is not None:
            largest = max(
                largest, float(np.quantile(np.abs(moment.fast_weights), 0.995))
            )
    return Outline(np.array(rewards), moment, tuple(onsets), largest, name, colour)


def acting_now(info: dict[str, Any]) -> list[str]:
    """Labels of the perturbations that act after a step, from its info, but for
    contexts.
    """
    contexts = info.get("contexts", {})
    return [
        label
        for label, now in info.get("perturbations", {}).items()
        if now["severity"] > 0 and label not in contexts
    ]


def context_now(info: dict[str, Any]) -> str:
    """The context after a step, in words: its signs, or the order that it makes of
    channels. What the task itself has is no perturbation, and is left out.
    """
    contexts = info.get("contexts", {})
    labels = [label for label in info.get("perturbations", {}) if label in contexts]
    if not labels:
        return ""
    numbers = [number for label in labels for number in contexts[label]]
    texts = [str(number) for number in numbers]
    if all(number in (-1, 1) for number in numbers):
        texts = ["+" if number > 0 else "\u2212" for number in numbers]
    names = ", ".join(labels).replace("_", " ")
    shown = f"hidden {names}: {' '.join(texts)}"
    if info["context_began"]:
        shown += f" since step {info['context_began']}"
    return shown


@dataclass
class _Scene:
    """One take while it is drawn."""

    camera: Camera
    moments: Iterator[Moment]
    panel: Panel
    stacked: bool
    steps: int = -1
    total: float = 0.0
    over: bool = False
    since: dict[str, int] = field(default_factory=dict)
    context: str = ""
    picture: np.ndarray | None = None

    def advance(self) -> None:
        """Goes on by one step, if the episode does."""
        moment = next(self.moments, None)
        if moment is None:
            self.over = True
            return
        self.steps += 1
        self.total += moment.reward
        if self.steps:
            self.panel.add(moment)
        self.since = {k: self.since.get(k, self.steps) for k in acting_now(moment.info)}
        self.context = context_now(moment.info)
        self.picture = None

    def frame(self) -> np.ndarray:
        """The picture and the panel, uint8 [height, any, 3]."""
        if self.picture is None:
            self.picture = self.camera.picture().copy()
            if overlay := getattr(self.camera.env.unwrapped, "overlay", None):
                self.picture[BAR:] = overlay(self.picture[BAR:])
        picture = self.picture
        step = f"over at step {self.steps}" if self.over else f"step {self.steps}"
        progress = f"{step}   return {self.total:.1f}"
        picture[:BAR] = written(picture[:BAR] // 2, self.panel.outline.name, progress)
        texts = [
            k if not at else f"{k} since step {at}" for k, at in self.since.items()
        ]
        texts += [self.context] if self.context else []
        if texts:
            picture[-BAR:] = written(
                np.full_like(picture[-BAR:], MARK), ", ".join(texts)
            )
        return np.concatenate(
            [picture, self.panel.canvas], axis=0 if self.stacked else 1
        )


def written(background: np.ndarray, left: str, right: str = "") -> np.ndarray:
    """White text on a background.

    Args:
        background: uint8 [height, width, 3].
        left: text, cut to what fits.
        right: text, whole.

    Returns:
        uint8 [height, width, 3].
    """
    from matplotlib import get_data_path

    picture = Image.fromarray(background)
    draw = ImageDraw.Draw(picture)
    middle = picture.height // 2
    face = ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 13)
    room = picture.width - 30 - face.getlength(right)
    if face.getlength(left) > room:
        while left and face.getlength(f"{left}...") > room:
            left = left[:-1]
        left += "..."
    draw.text((10, middle), left, "white", face, anchor="lm")
    draw.text((picture.width - 10, middle), right, "white", face, anchor="rm")
    return np.asarray(picture)


@contextmanager
def mp4(
    path: Path, width: int, height: int, rate: Fraction
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends a frame, uint8 [height, width, 3], to an mp4, which
    appears under its name when the block ends well.

    Args:
        path: of the file.
        width: of a frame, in pixels; even.
        height: of a frame, in pixels; even.
        rate: frames per second.
    """
    options = {"movflags": "+faststart"}
    with (
        whole_file(path) as part,
        av.open(str(part), "w", format="mp4", options=options) as file,
    ):
        stream = file.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "crf": "26"}
        )
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1

        def add(frame: np.ndarray) -> None:
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame), format="rgb24"
            )
            file.mux(stream.encode(picture))

        yield add
        file.mux(stream.encode())
