"""Pictures of the cue tasks, for `render`: what is seen, what was done, and how it went."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from spikepropamine.envs.cue_association import CueAssociation
    from spikepropamine.envs.evidence_accumulation import EvidenceAccumulation
    from spikepropamine.envs.half_cheetah_cue import HalfCheetahCue

Draw = ImageDraw.ImageDraw
WIDTH, HEIGHT, EDGE = 560, 420, 28  # in pixels
# Okabe and Ito's palette, which the colour-blind can tell apart
CUES = ["#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000"]
LIGHT = ["#56B4E9", "#F0B0D8", "#E69F00", "#F0E442"]  # on a dark ground
RIGHT, WRONG, INK, GREY, PALE = "#009E73", "#D55E00", "#222222", "#808080", "#E4E4E4"


def cue_association(task: "CueAssociation") -> np.ndarray:
    """The present cue or feedback, and all trials so far; uint8 [HEIGHT, WIDTH, 3]."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    seen, bits = task.seen, task.bits
    step = min(task.steps, task.episode_steps - 1)
    trial, phase = divmod(step, task.trial_steps)
    feedback = seen[bits + 1 : -1].any()
    shows_cue = phase < task.cue_length and task.steps < task.episode_steps
    state = "cue" if shows_cue else "feedback" if feedback else "delay"
    if task.steps == task.episode_steps:
        state = "the end"
    _text(draw, EDGE, 56, f"trial {trial + 1} of {task.trials}: {state}", 20)

    colour = CUES[task.order[trial] % len(CUES)] if shows_cue else INK
    side = min(44, (WIDTH - 2 * EDGE) // min(bits, 10))
    for bit, on in enumerate(seen[:bits]):
        x, y = EDGE + bit % 10 * side, 92 + bit // 10 * side
        if y < 200:
            draw.rectangle((x + 2, y + 2, x + side - 2, y + side - 2), colour if on else PALE)

    _text(draw, EDGE, 228, "action", 16)
    answer = task.answers[-1] if feedback else None
    for action in range(min(task.actions, 10)):
        x = EDGE + 90 + action * 46
        fill, text = PALE, GREY
        if answer is not None and answer[0] == action:
            fill, text = (RIGHT if answer[1] else WRONG), "white"
        draw.ellipse((x - 19, 209, x + 19, 247), fill=fill)
        _text(draw, x, 228, f"{action}", 18, text, "mm")
    if answer is not None:
        verdict = "right" if answer[1] else f"wrong: it was {task.targets[len(task.answers) - 1]}"
        x = EDGE + 90 + min(task.actions, 10) * 46
        _text(draw, x, 228, verdict, 18, RIGHT if answer[1] else WRONG)

    right = sum(correct for _, correct in task.answers)
    _text(draw, EDGE, 282, f"trials so far: {right} of {len(task.answers)} right", 16)
    wide = (WIDTH - 2 * EDGE) / task.trials
    for number in range(task.trials):
        x0 = EDGE + number * wide
        x1, centre = max(x0, x0 + wide - 2), x0 + wide / 2
        reached = number < trial or (number == trial and task.steps > 0) or number == 0
        cue = int(task.order[number])
        draw.rectangle((x0, 302, x1, 330), fill=CUES[cue % len(CUES)] if reached else PALE)
        if reached and wide > 16:
            _text(draw, centre, 316, _letter(cue), 14, "white", "mm")
        if number < len(task.answers):
            action, correct = task.answers[number]
            draw.rectangle((x0, 334, x1, 362), fill=RIGHT if correct else WRONG)
            if wide > 16:
                _text(draw, centre, 348, f"{action}", 14, "white", "mm")
    return np.asarray(picture)


def evidence_accumulation(task: "EvidenceAccumulation") -> np.ndarray:
    """The corridor with its cues, the way we have come, and the input; uint8 as above."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    now = min(task.steps * task.step_ms, task.episode_ms)
    _text(draw, EDGE, 56, f"{now} of {task.episode_ms} ms: {task.phase}", 20)

    left, right, middle = EDGE + 46, WIDTH - EDGE - 110, 148
    scale = (right - left) / task.episode_ms
    draw.rectangle((left, middle - 6, right, middle + 6), fill=PALE)
    _text(draw, EDGE, middle - 32, "left", 14, GREY)
    _text(draw, EDGE, middle + 32, "right", 14, GREY)
    for number, side in enumerate(task.sides):
        start = task.gap_ms + number * (task.gap_ms + task.cue_ms)
        x, end = left + start * scale, left + (start + task.cue_ms) * scale
        y = middle + (32 if side else -32)
        fill = CUES[side] if now > start else PALE
        draw.rectangle((x, y - 16, max(end, x + 3), y + 16), fill=fill)
    x = left + now * scale
    draw.polygon([(x - 8, middle - 9), (x - 8, middle + 9), (x + 9, middle)], fill=INK)

    for side, name in enumerate(("left", "right")):
        y = middle + (32 if side else -32)
        fill, text = PALE, GREY
        if task.last_answer == side:
            fill, text = (RIGHT if side == task.target else WRONG), "white"
        draw.rounded_rectangle((right + 24, y - 18, right + 106, y + 18), 8, fill=fill)
        _text(draw, right + 65, y, name, 15, text, "mm")

    _text(draw, EDGE, 216, "spikes that come in", 16)
    counts = task.seen.reshape(4, task.population)
    side = min(34, (WIDTH - 2 * EDGE - 110) / task.population)
    for row, name in enumerate(("left", "right", "recall", "background")):
        y = 240 + row * 38
        _text(draw, EDGE, y + 17, name, 14, GREY)
        for neuron, count in enumerate(counts[row]):
            x = EDGE + 100 + neuron * side
            box = (x, y, max(x, x + side - 2), y + 32)
            shade = round(228 - 194 * min(float(count) / 2, 1.0))  # from pale to black
            draw.rectangle(box, fill=(shade, shade, shade))
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
    asked = f"cue {_letter(cue)} asks", direction * 2.0, LIGHT[cue % len(LIGHT)]
    for line, (name, speed, colour) in enumerate((asked, ("robot runs", task.speed, "white"))):
        y = row * (line + 1)
        _text(draw, size, y, name, size, "white")
        _arrow(draw, middle, y, np.clip(speed / 4, -1, 1) * width * 0.3, size * 0.5, colour)
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
        if answer is not None:
            _mark(draw, box, answer)
        elif trial < len(task.answers):
            _text(draw, x + side * 0.45, y, "told", round(size * 0.7), GREY, "mm")
    return np.asarray(canvas)


def _arrow(draw: Draw, x: float, y: float, length: float, thick: float, colour: str) -> None:
    """From (x, y) to the right, or to the left where `length` is negative."""
    end, head = x + length, np.sign(length) * min(abs(length), thick * 2)
    draw.rectangle((min(x, end - head), y - thick / 3, max(x, end - head), y + thick / 3), colour)
    draw.polygon([(end, y), (end - head, y - thick), (end - head, y + thick)], colour)


def _mark(draw: Draw, box: tuple[float, ...], right: bool) -> None:
    """A tick or a cross, white, inside a box."""
    x0, y0, x1, y1 = box
    tick, cross = [(0.25, 0.55), (0.43, 0.75), (0.77, 0.28)], [(0.28, 0.28), (0.72, 0.72)]
    for stroke in [tick] if right else [cross, [(x, 1 - y) for x, y in cross]]:
        draw.line([(x0 + x * (x1 - x0), y0 + y * (y1 - y0)) for x, y in stroke], "white", 3)


def _text(
    draw: Draw, x: float, y: float, text: str, size: int, colour: str = INK, anchor: str = "lm"
) -> None:
    draw.text((x, y), text, colour, ImageFont.load_default(size), anchor=anchor)


def _letter(cue: int) -> str:
    return chr(ord("A") + cue) if cue < 26 else str(cue)
