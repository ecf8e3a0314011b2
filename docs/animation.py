"""Animations of README and of the documentation: one robot twice, with its synapses
learning and without.

python docs/animation.py told-once robot-map    # writes docs/NAME.webp
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from spikepropamine.envs.rendering import Camera, choose_backend
from spikepropamine.evaluation.ask.conditions import CLEAN, conditions_of, make_env
from spikepropamine.evaluation.ask.lesions import LESIONS, Wave, layout_of
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.film.video import BAR, INK, written
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.evaluation.run.work import width_of
from spikepropamine.folder import find

SEED = 1_000_000  # of the first episode that evaluations have
WIDTH, HEIGHT = 340, 240  # of each half, in pixels


@dataclass(frozen=True)
class Scene:
    """An episode, seen with a policy as it is and with a lesion.

    Attributes:
        run: name of a trained policy.
        lesion: name of that of the second half.
        titles: above the two halves.
        stride: steps from one picture to the next.
        seconds: that the animation lasts.
        perturb: text of a condition; empty: the task as it is.
        horizon_factor: how many times as long as in training the episode is.
        deterministic: whether actions are the likeliest, or sampled.
        titles_after: above the two halves from a change in mid-episode on.
    """

    run: str
    lesion: str
    titles: tuple[str, str]
    stride: int
    seconds: float
    perturb: str = ""
    horizon_factor: int = 1
    deterministic: bool = True
    titles_after: tuple[str, str] = ("", "")


SCENES = {
    "told-once": Scene(
        "cue-lesson/HalfCheetahCueLesson-v0/ndp-hebb",
        "off",
        ("synapses learn while it runs", "the same, plasticity off"),
        stride=2,
        seconds=8.0,
    ),
    "robot-map": Scene(
        "robot-map/HalfCheetah-v5/ndp-delta",
        "frozen",
        ("synapses learn while it runs", "the same"),
        stride=4,
        seconds=12.0,
        perturb="motor_map=held_out@change(200)",
        horizon_factor=2,
        deterministic=False,
        titles_after=("new wiring, synapses learn", "new wiring, synapses frozen"),
    ),
}


def frames(scene: Scene, half: int) -> Iterator[np.ndarray]:
    """Every `stride`-th step of the episode, uint8 [HEIGHT + BAR, WIDTH, 3].

    Args:
        scene: which episode.
        half: 0 with the policy as it is, 1 with the lesion.
    """
    (run,), task = load_runs([find(scene.run)], scene.horizon_factor)
    condition = CLEAN
    if scene.perturb:
        *_, condition = conditions_of(task, None, [scene.perturb], [])[0]
    env = make_env(task, condition, run.previous, run.revealed)
    width = width_of(task)
    hook = None
    if half == 1:
        freeze_at = condition.freeze_at(task.horizon)
        wave = Wave(layout_of(run.policy), [SEED], width, freeze_at)
        hook = LESIONS[scene.lesion].hook(wave)
    moments = watch(
        run.policy,
        env,
        SEED,
        hook=hook,
        width=width,
        deterministic=scene.deterministic,
    )
    camera = Camera(env, WIDTH, HEIGHT)
    blank = np.full((BAR, WIDTH, 3), INK, dtype=np.uint8)
    for step, moment in enumerate(moments):
        if step % scene.stride == 0:
            has_changed = moment.info.get("context_began", 0) > 0
            titles = scene.titles_after if has_changed else scene.titles
            distance = ""
            if "x_position" in moment.info:
                distance = f"{moment.info['x_position']:z.0f} m"
            picture = camera.picture()
            overlay = getattr(env.unwrapped, "overlay", None)
            if overlay is not None:
                picture = overlay(picture)
            yield np.concatenate([written(blank, titles[half], distance), picture])
    camera.close()
    env.close()


def write(name: str) -> None:
    """Writes the animation of a scene."""
    scene = SCENES[name]
    halves = [frames(scene, half) for half in (0, 1)]
    pictures = [
        Image.fromarray(np.concatenate(pair, axis=1))
        for pair in zip(*halves, strict=True)
    ]
    file = Path(__file__).parent / f"{name}.webp"
    first, *others = pictures
    first.save(
        file,
        save_all=True,
        append_images=others,
        quality=30,
        method=6,
        duration=round(1000 * scene.seconds / len(pictures)),
        loop=0,
    )
    print(file, f"{file.stat().st_size / 1e6:.1f} MB, {len(pictures)} pictures")


if __name__ == "__main__":
    choose_backend()
    for name in sys.argv[1:] or SCENES:
        write(name)
