"""The gallery of tasks in docs/reference/gallery.md: spaces, returns, and a moving
picture of each in docs/tasks/.

    python docs/gallery.py            # the page, and pictures that are missing
    python docs/gallery.py --all      # all pictures anew (minutes)

A picture shows a trained policy of this package, or else random actions.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml
from PIL import Image

import spikepropamine as sp
from spikepropamine.envs.rendering import Camera, choose_backend
from spikepropamine.folder import RunFolder, name_of, trained_runs

DOCS = Path(__file__).parent
PAGE = DOCS / "reference" / "gallery.md"
PICTURES = DOCS / "tasks"
TASKS = {
    "CueAssociation-v0": "Which cue means which action is new in every episode.",
    "KeyValue-v0": "Keys get new values, which are asked for later.",
    "MotorMap-v0": "Which motor moves which joint is new in every episode.",
    "EvidenceAccumulation-v0": "Cues left and right are counted, and answered later.",
    "HalfCheetahCueLesson-v0": "A robot is told once which cue means which direction.",
    "HalfCheetah-v5": "Gymnasium's robot runs forward.",
    "Ant-v5": "Gymnasium's robot runs forward.",
    "Hopper-v5": "Gymnasium's robot hops forward.",
    "Walker2d-v5": "Gymnasium's robot walks forward.",
    "Swimmer-v5": "Gymnasium's robot swims forward.",
}
"""What is shown, in one sentence each: tasks that can be drawn without pygame."""
PREFERRED = ("ndp-hebb", "ndp-oja")
"""Policies that are filmed, the first that is there."""
FRAMES = 60
STEPS_PER_FRAME = 3
MILLISECONDS = 60
SIZE = (240, 180)  # pixels
SEED = 3
RANDOM_EPISODES = 10
OPENING = """# Gallery of tasks

<!-- made by `python docs/gallery.py` -->

Tasks with their spaces, what random actions earn, and what trained policies of this
package earn as their cards say. [Tasks](tasks.md) explains what is observed and
rewarded. A picture shows a trained policy, or random actions where there is none.
"""


def policies_of(task: str) -> dict[str, Path]:
    """Trained policies of a task that is as it is by default, by their short names."""
    found: dict[str, Path] = {}
    for path in trained_runs():
        matrix = name_of(path).split("/")[0]
        of_task = path.parent.parent.name == task
        if of_task and matrix in ("robots", "cue-ppo", "cue-lesson"):
            found.setdefault(path.parent.name, path)
    return found


def metrics_of(path: Path) -> dict[str, float]:
    """What the card of a run says that it earns."""
    card = RunFolder(path).card.read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    (result,) = front["model-index"][0]["results"]
    return {metric["type"]: metric["value"] for metric in result["metrics"]}


def random_return(task: str) -> float:
    """The mean return of random actions."""
    with closing(gymnasium.make(task)) as env:
        env.action_space.seed(SEED)
        returns = []
        for episode in range(RANDOM_EPISODES):
            env.reset(seed=SEED + episode)
            total = 0.0
            over = False
            while not over:
                _, reward, ended, cut, _ = env.step(env.action_space.sample())
                total += float(reward)
                over = ended or cut
            returns.append(total)
    return float(np.mean(returns))


def frames(task: str, path: Path | None) -> Iterator[np.ndarray]:
    """Pictures [height, width, 3] of every step of episodes.

    Args:
        task: Gymnasium id.
        path: run folder of the policy that acts; None: random actions.
    """
    policy = None if path is None else sp.load(path)
    if policy is None:
        env: Any = gymnasium.make(task, render_mode="rgb_array")
    else:
        env = policy.make_env(render_mode="rgb_array")
    env.action_space.seed(SEED)
    with closing(env), closing(Camera(env, *SIZE)) as camera:
        for seed in range(SEED, SEED + 100):
            observation, _ = env.reset(seed=seed)
            if policy is not None:
                policy.reset()
            over = False
            while not over:
                yield camera.picture()
                action = env.action_space.sample()
                if policy is not None:
                    action = policy.act(observation)
                observation, _, ended, cut, _ = env.step(action)
                over = ended or cut


def draw(task: str, path: Path | None) -> None:
    """Draws the moving picture of a task."""
    every = islice(frames(task, path), 0, FRAMES * STEPS_PER_FRAME, STEPS_PER_FRAME)
    images = []
    for frame in every:
        image = Image.fromarray(frame)
        images.append(image.resize(SIZE, Image.Resampling.LANCZOS))
    first, *rest = images
    first.save(
        PICTURES / f"{task}.webp",
        save_all=True,
        append_images=rest,
        duration=MILLISECONDS,
        loop=0,
        quality=45,
        method=6,
    )


def section(task: str) -> str:
    """What the page says about a task."""
    env = gymnasium.make(task)
    with closing(env):
        limit = env.spec.max_episode_steps if env.spec else None
        rows = [
            ("action", f"`{_space(env.action_space)}`"),
            ("observation", f"`{_space(env.observation_space)}`"),
            ("episode", f"{limit} steps at most" if limit else "ends by itself"),
        ]
    rows.append(("random actions", f"return {random_return(task):.1f}"))
    policies = policies_of(task)
    for name, path in policies.items():
        metrics = metrics_of(path)
        said = f"return {metrics['mean_reward']:,.1f}"
        if "late_accuracy" in metrics:
            said += f", late accuracy {metrics['late_accuracy']:.2f}"
        rows.append((f"`{name}`", said))
    shown = filmed(policies)
    what = f"`{shown}`" if shown else "Random actions"
    lines = [
        f"## {task}",
        TASKS[task],
        f"![{what} on {task}](../tasks/{task}.webp){{ width=240 }}",
        "| | |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows),
    ]
    return "\n\n".join(lines)


def filmed(policies: dict[str, Path]) -> str | None:
    """The policy that the picture shows; None: random actions."""
    return next((name for name in PREFERRED if name in policies), None)


def _space(space: Any) -> str:
    """A space in a few words."""
    if isinstance(space, gymnasium.spaces.Box):
        low = float(np.min(space.low))
        high = float(np.max(space.high))
        return f"Box{space.shape}, {space.dtype}, [{low:g}, {high:g}]"
    return str(space)


def main() -> None:
    """Writes the page and draws the pictures."""
    choose_backend()  # before MuJoCo is imported
    for task in TASKS:
        if "--all" in sys.argv or not (PICTURES / f"{task}.webp").is_file():
            policies = policies_of(task)
            name = filmed(policies)
            draw(task, None if name is None else policies[name])
            print(task)
    page = "\n\n".join([OPENING.strip(), *map(section, TASKS)]) + "\n"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
