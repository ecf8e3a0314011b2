"""The README's animation: a robot that is told once, with and without plasticity.

python docs/animation.py    # writes docs/told-once.webp
"""

from pathlib import Path

import numpy as np
from PIL import Image

from spikepropamine.envs.rendering import Camera, choose_backend
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.lesions import LESIONS, Wave, layout_of
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.film.video import BAR, INK, written
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.folder import find

FILE = Path(__file__).parent / "told-once.webp"
NAME = "cue-lesson/HalfCheetahCueLesson-v0/ndp-hebb"
SEED = 1_000_000
WIDTH, HEIGHT = 340, 240  # of each half, in pixels
STRIDE = 2
SECONDS = 8.0


def frames(title: str, lesion: str | None) -> list[np.ndarray]:
    """Every `STRIDE`-th step of the episode, uint8 [HEIGHT + BAR, WIDTH, 3].

    Args:
        title: above the robot.
        lesion: name of that of the policy; None: none.
    """
    (run,), task = load_runs([find(NAME)])
    env = make_env(task, CLEAN, run.previous, run.revealed)
    hook = lesion and LESIONS[lesion].hook(Wave(layout_of(run.policy), [SEED], 1))
    camera = Camera(env, WIDTH, HEIGHT)
    pictures = []
    bar = written(np.full((BAR, WIDTH, 3), INK, dtype=np.uint8), title)
    for step, _ in enumerate(watch(run.policy, env, SEED, hook=hook)):
        if step % STRIDE == 0:
            pictures.append(
                np.concatenate([bar, env.unwrapped.overlay(camera.picture())])
            )
    camera.close()
    env.close()
    return pictures


if __name__ == "__main__":
    choose_backend()
    halves = [
        frames("synapses learn while it runs", None),
        frames("the same, plasticity off", "off"),
    ]
    pictures = [Image.fromarray(np.concatenate(pair, axis=1)) for pair in zip(*halves)]
    timing = {"duration": round(1000 * SECONDS / len(pictures)), "loop": 0}
    first, *others = pictures
    first.save(
        FILE, save_all=True, append_images=others, quality=30, method=6, **timing
    )
    print(FILE, f"{FILE.stat().st_size / 1e6:.1f} MB, {len(pictures)} pictures")
