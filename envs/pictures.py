"""Pictures of the cue tasks, for `render`: what is seen, what was done, and how it went."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

if TYPE_CHECKING:
    from spikepropamine.envs.half_cheetah import HalfCheetahCue
    from spikepropamine.envs.task import DrawnTask

Draw = ImageDraw.ImageDraw
WIDTH, HEIGHT, EDGE = 560, 420, 28  # in pixels
# Okabe and Ito's palette, which the colour-blind can tell apart; of cues, on a dark ground
LIGHT = ["#56B4E9", "#F0B0D8", "#E69F00", "#F0E442"]
RIGHT, WRONG, INK, GREY, PALE = "#009E73", "#D55E00", "#222222", "#808080", "#E4E4E4"


def drawn_task(task: "DrawnTask") -> np.ndarray:
    """What was observed so far, with a column for each step, and which answers were right; uint8
    [HEIGHT, WIDTH, 3].
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    right = sum(correct for _, correct in task.answers)
    answers = f"{right} of {len(task.answers)} answers right"
    _text(draw, EDGE, 44, f"step {task.steps} of {task.episode_steps}: {answers}", 20)
    seen = task.observed.T
    shades = 228 - 194 * np.abs(seen) / max(1, np.abs(seen).max())  # from pale to black
    colours = np.full((len(seen), task.episode_steps + 1, 3), 255, np.uint8)
    colours[:, : seen.shape[1]] = np.round(shades)[..., None]
    colours[:, : seen.shape[1]][seen < 0] = ImageColor.getrgb(WRONG)
    left, y, first = EDGE + 92, 76, 0
    width, each = WIDTH - EDGE - left, (290 - 22 * len(task.parts)) / len(seen)
    for name, channels in task.parts.items():
        tall = round(22 + each * channels)
        band = Image.fromarray(colours[first : first + channels])
        picture.paste(band.resize((width, tall - 4), Image.Resampling.BOX), (left, y))
        _text(draw, EDGE, y + tall / 2 - 2, name, 14, GREY)
        y, first = y + tall, first + channels
    _text(draw, EDGE, y + 14, "answers", 14, GREY)
    wide = width / (task.episode_steps + 1)
    for step, correct in task.answers:
        x = left + step * wide
        draw.rectangle((x, y, x + wide, y + 28), RIGHT if correct else WRONG)
    return np.asarray(picture)


def run_as_asked(task: "HalfCheetahCue", picture: np.ndarray) -> np.ndarray:
    """A picture of the robot with an arrow for what is asked, one for what it does, and a mark for
    each trial: right, wrong, or told (a lesson); uint8 of the same shape.
    """
    width, size = picture.shape[1], max(picture.shape[0] // 24, 11)
    middle, row = width / 2, size * 1.9
    shaded = picture.copy()
    shaded[: round(row * 2.8)] //= 4
    canvas = Image.fromarray(shaded)
    draw = ImageDraw.Draw(canvas)
    cue, direction, told = task.asked
    letter = chr(ord("A") + cue) if cue < 26 else str(cue)
    asked = f"cue {letter} asks", direction * 2.0, LIGHT[cue % len(LIGHT)]
    for line, (name, speed, colour) in enumerate(
        (asked, ("robot runs", task.speed, "white"))
    ):
        y = row * (line + 1)
        _text(draw, size, y, name, size, "white")
        _arrow(
            draw, middle, y, np.clip(speed / 4, -1, 1) * width * 0.3, size * 0.5, colour
        )
    if told:
        _text(draw, width - size, row, "told now", size, "white", "rm")
    side = min((width - 2 * size) / task.trials, size * 2.2)
    y = picture.shape[0] - size * 4
    for trial in range(task.trials):
        x = size + trial * side
        box = (x, y - side * 0.45, x + side * 0.9, y + side * 0.45)
        answer = task.answers[trial] if trial < len(task.answers) else None
        now = trial == min(len(task.answers), task.trials - 1)
        fill = PALE if answer is None else RIGHT if answer else WRONG
        draw.rectangle(box, fill=fill, outline=INK if now else None, width=2)
        if answer is not None:  # a tick or a cross
            x0, y0, wide, high = x, y - side * 0.45, side * 0.9, side * 0.9
            tick, cross = (
                [(0.25, 0.55), (0.43, 0.75), (0.77, 0.28)],
                [(0.28, 0.28), (0.72, 0.72)],
            )
            for stroke in [tick] if answer else [cross, [(u, 1 - v) for u, v in cross]]:
                draw.line(
                    [(x0 + u * wide, y0 + v * high) for u, v in stroke], "white", 3
                )
        elif trial < len(task.answers):
            _text(draw, x + side * 0.45, y, "told", round(size * 0.7), GREY, "mm")
    return np.asarray(canvas)


def _arrow(
    draw: Draw, x: float, y: float, length: float, thick: float, colour: str
) -> None:
    """From (x, y) to the right, or to the left where `length` is negative."""
    end, head = x + length, np.sign(length) * min(abs(length), thick * 2)
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
