"""Pictures of the cue tasks, for `render`: what is seen, what was done, and how it
went.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

if TYPE_CHECKING:
    from spikepropamine.envs.cue_robot import CueRobot
    from spikepropamine.envs.task import DrawnTask

Draw = ImageDraw.ImageDraw
WIDTH, HEIGHT, EDGE = 560, 420, 28  # in pixels
# Okabe and Ito's palette, which the colour-blind can tell apart; of cues, on a dark
# ground
LIGHT = ["#56B4E9", "#F0B0D8", "#E69F00", "#F0E442"]
RIGHT = "#009E73"
WRONG = "#D55E00"
INK = "#222222"
GREY = "#808080"
PALE = "#E4E4E4"
# lines through points of a square, whose side is 1
TICK = (((0.25, 0.55), (0.43, 0.75), (0.77, 0.28)),)
CROSS = (((0.28, 0.28), (0.72, 0.72)), ((0.28, 0.72), (0.72, 0.28)))


def drawn_task(task: "DrawnTask") -> np.ndarray:
    """What was observed so far, with a column for each step, and which answers were
    right.

    Returns:
        uint8 [HEIGHT, WIDTH, 3].
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    right = sum(correct for _, correct in task.answers)
    answers = f"{right} of {len(task.answers)} answers right"
    _text(draw, EDGE, 44, f"step {task.steps} of {task.episode_steps}: {answers}", 20)

    cells = _shades(task.observed.T, task.episode_steps + 1)
    left = EDGE + 92
    width = WIDTH - EDGE - left
    channel_height = (290 - 22 * len(task.parts)) / len(cells)
    y = 76
    first = 0
    for name, channels in task.parts.items():
        height = round(22 + channel_height * channels)
        band = Image.fromarray(cells[first : first + channels])
        picture.paste(band.resize((width, height - 4), Image.Resampling.BOX), (left, y))
        _text(draw, EDGE, y + height / 2 - 2, name, 14, GREY)
        y += height
        first += channels

    _text(draw, EDGE, y + 14, "answers", 14, GREY)
    step_width = width / (task.episode_steps + 1)
    for step, correct in task.answers:
        x = left + step * step_width
        draw.rectangle((x, y, x + step_width, y + 28), RIGHT if correct else WRONG)
    return np.asarray(picture)


def _shades(observed: np.ndarray, columns: int) -> np.ndarray:
    """Observations [channels, steps] as colours, uint8 [channels, columns, 3]: from
    pale to black, what is negative in the colour of what is wrong, and white after the
    last step.
    """
    channels, steps = observed.shape
    largest = max(1, np.abs(observed).max())
    shades = 228 - 194 * np.abs(observed) / largest
    colours = np.full((channels, columns, 3), 255, np.uint8)
    colours[:, :steps] = np.round(shades)[..., None]
    colours[:, :steps][observed < 0] = ImageColor.getrgb(WRONG)
    return colours


def run_by_cue(task: "CueRobot", picture: np.ndarray) -> np.ndarray:
    """A picture of the robot with an arrow for the right direction, one for what the
    robot does, and a mark for each trial: right, wrong, or told (a lesson).

    Args:
        task: the robot, in an episode.
        picture: uint8 [height, width, 3].

    Returns:
        A picture of the same shape.
    """
    width = picture.shape[1]
    size = max(picture.shape[0] // 24, 11)
    row = size * 1.9
    shaded = picture.copy()
    shaded[: round(row * 2.8)] //= 4
    canvas = Image.fromarray(shaded)
    draw = ImageDraw.Draw(canvas)

    trial = task.present_trial
    letter = chr(ord("A") + trial.cue) if trial.cue < 26 else str(trial.cue)
    colour = LIGHT[trial.cue % len(LIGHT)]
    _speed(draw, row, width, size, f"cue {letter} asks", trial.direction * 2.0, colour)
    _speed(draw, 2 * row, width, size, "robot runs", task.speed, "white")
    if trial.tells:
        _text(draw, width - size, row, "told now", size, "white", "rm")

    side = min((width - 2 * size) / task.trials, size * 2.2)
    middle = picture.shape[0] - size * 4
    present = min(len(task.answers), task.trials - 1)
    for number in range(task.trials):
        left = size + number * side
        answered = number < len(task.answers)
        right = task.answers[number] if answered else None
        outline = INK if number == present else None
        box = _Box(left, middle - side * 0.45, side * 0.9)
        _mark(draw, box, right, outline)
        if answered and right is None:
            centre = left + side * 0.45
            _text(draw, centre, middle, "told", round(size * 0.7), GREY, "mm")
    return np.asarray(canvas)


class _Box(NamedTuple):
    """A square of a picture, in pixels."""

    left: float
    top: float
    side: float


def _mark(draw: Draw, box: _Box, right: bool | None, outline: str | None) -> None:
    """A tick for a trial that was right, a cross for a wrong one, nothing for
    others.
    """
    colours = {None: PALE, True: RIGHT, False: WRONG}
    corners = (box.left, box.top, box.left + box.side, box.top + box.side)
    draw.rectangle(corners, fill=colours[right], outline=outline, width=2)
    strokes = {None: (), True: TICK, False: CROSS}[right]
    for stroke in strokes:
        points = [(box.left + x * box.side, box.top + y * box.side) for x, y in stroke]
        draw.line(points, "white", 3)


def _speed(
    draw: Draw, y: float, width: int, size: int, name: str, speed: float, colour: str
) -> None:
    """A line of text, and beside it an arrow that is as long as a speed in m/s is
    high.
    """
    _text(draw, size, y, name, size, "white")
    length = np.clip(speed / 4, -1, 1) * width * 0.3
    _arrow(draw, width / 2, y, length, size * 0.5, colour)


def _arrow(
    draw: Draw, x: float, y: float, length: float, thick: float, colour: str
) -> None:
    """From (x, y) to the right, or to the left where `length` is negative."""
    end = x + length
    head = np.sign(length) * min(abs(length), thick * 2)
    draw.rectangle(
        (min(x, end - head), y - thick / 3, max(x, end - head), y + thick / 3), colour
    )
    draw.polygon([(end, y), (end - head, y - thick), (end - head, y + thick)], colour)


def _text(
    draw: Draw,
    x: float,
    y: float,
    text: str,
    size: int,
    colour: str = INK,
    anchor: str = "lm",
) -> None:
    draw.text((x, y), text, colour, ImageFont.load_default(size), anchor=anchor)
