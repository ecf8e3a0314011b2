"""The list of perturbations in docs/perturbations.md, and a picture of each.

    python docs/perturbations.py            # the list, and pictures that are missing
    python docs/perturbations.py --all      # all pictures anew (minutes)

A picture shows the same episode without the perturbation (blue) and with it (orange),
from its onset on: what a sensor reads, what arrives at a motor, or what becomes of the
robot.
"""

import io
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from spikepropamine.colours import BLUE, GREY, RED
from spikepropamine.envs.making import make
from spikepropamine.envs.perturbations import CATALOGUE, Family, reason_against
from spikepropamine.envs.rendering import Camera, choose_backend
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.policies.export import load_policy

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "perturbations.md"
PICTURES = ROOT / "docs" / "perturbations"
START = "<!-- made by `python docs/perturbations.py` -->\n"
END = "<!-- end -->\n"
ONSET = 40
STEPS = 160
SEED = 3
ROBOTS = ("HalfCheetah-v5", "Ant-v5")
CUES = "CueAssociation-v0"
PLAIN = BLUE
CHANGED = RED
GROUPS = {
    "sensing": "What is observed",
    "acting": "What is done",
    "body": "The robot's body",
    "world": "The world around it",
    "task": "What the task asks for",
}


def text_of(family: Family) -> str:
    """The perturbation that the picture shows."""
    value = "~0.6"
    if family.contexts:
        value = "=seen"
    elif family.group == "task":
        value = "~1"
    return f"{family.name}{value}@{ONSET}"


def task_of(family: Family) -> str:
    """The first task that the perturbation can change."""
    for name in (*ROBOTS, CUES):
        env = make(name)
        env.reset(seed=SEED)
        why_not = reason_against(env, text_of(family))
        env.close()
        if not why_not:
            return name
    raise ValueError(f"no task here has {family.name}")


def episode(
    task: str, text: str | None, told: np.ndarray | None = None
) -> dict[str, Any]:
    """What happens in an episode: arrays over its steps, and the robot at the end.

    Args:
        task: Gymnasium id.
        text: of the perturbation; None: none.
        told: actions to be done, [steps, motors]; None: those of a trained policy.
    """
    (kept,) = (ROOT / "trained" / "robots" / task / "snn").glob("seed-*")
    policy: Any = load_policy(kept / "policy")
    env = make(task, policy.metadata["settings"]["env_kwargs"], text)
    data = env.unwrapped.data  # type: ignore[attr-defined]
    if told is not None:
        given = iter(told[:, None])
        policy = SimpleNamespace(
            policy=None, predict=lambda *_, **__: (next(given), None)
        )
    camera = Camera(env, 240, 180)
    rows = []
    for moment in islice(watch(policy, env, SEED), 1, STEPS + 1):
        state = data.ctrl.copy(), data.qpos[0]
        rows.append((moment.observation, moment.action, *state, moment.reward))
    names = ("seen", "asked", "arrived", "where", "paid")
    arrays = dict(zip(names, map(np.array, zip(*rows))))
    arrays |= {"paid": np.cumsum(arrays["paid"]), "picture": camera.picture()}
    camera.close()
    env.close()
    return arrays


def right_actions(text: str | None) -> list[tuple[int, int]]:
    """Trials in which the first cue is shown, and the action that it asks for."""
    env: Any = make(CUES, perturb=text)
    env.reset(seed=SEED)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    task = env.unwrapped
    answers = [
        (n, int(task.targets[n])) for n in range(task.trials) if task.order[n] == 0
    ]
    env.close()
    return answers


def draw(family: Family) -> bytes:
    """The picture of a family, a PNG of few colours."""
    import matplotlib.pyplot as plt

    text = text_of(family)
    task = task_of(family)
    robots = family.group in ("body", "world")
    figure, axes = plt.subplots(
        1, 3 if robots else 1, figsize=(7, 1.9), dpi=110, layout="constrained",
        gridspec_kw={"width_ratios": [1, 1, 1.7]} if robots else None,
    )  # fmt: skip
    plot: Any = axes[-1] if robots else axes
    onset = float(ONSET)
    if task == CUES:
        for perturb, colour, marker in ((None, PLAIN, "o"), (text, CHANGED, "x")):
            found = right_actions(perturb)
            name = perturb or "plain"
            plot.plot(*zip(*found), marker, color=colour, label=name, markersize=6)
        env: Any = make(CUES)
        onset = ONSET / env.unwrapped.trial_steps
        plot.set(xlabel="trial", yticks=[0, 1], ylabel="right action")
    else:
        plain = episode(task, None)
        same = None if robots or family.group == "task" else plain["asked"]
        changed = episode(task, text, same)
        name = {"sensing": "seen", "acting": "arrived", "task": "paid"}.get(
            family.group, "where"
        )
        what = {"where": "distance run, m", "paid": "sum of rewards"}.get(name)
        curves = [plain[name], changed[name]]
        if what is None:
            length = min(map(len, curves))
            difference = np.abs(curves[1][:length] - curves[0][:length])
            apart = difference.mean(axis=0) / (curves[0].std(axis=0) + 0.1)
            channel = int(apart.argmax())
            curves = [curve[:, channel] for curve in curves]
            what = f"{'sensor' if name == 'seen' else 'motor'} {channel}"
        for curve, colour, name in zip(curves, (PLAIN, CHANGED), ("plain", text)):
            plot.plot(
                np.arange(len(curve)), curve, color=colour, label=name, linewidth=1.3
            )
        plot.set(xlabel="step", ylabel=what)
        if robots:
            for ax, found, name in zip(axes, (plain, changed), ("plain", "perturbed")):
                ax.imshow(found["picture"])
                ax.set_axis_off()
                ax.set_title(f"{name}, step {len(found['where'])}", fontsize=8)
    plot.axvline(onset, color=GREY, linestyle=":", linewidth=1)
    plot.legend(
        fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 0.98), ncols=2
    )
    plot.tick_params(labelsize=7)
    plot.xaxis.label.set_size(8)
    plot.yaxis.label.set_size(8)
    plot.spines[["top", "right"]].set_visible(False)
    raw = io.BytesIO()
    small = io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def listing() -> str:
    """The section of the page: every family with its range and its picture."""
    lines = []
    for group, title in GROUPS.items():
        lines += [f"### {title}", ""]
        for family in (one for one in CATALOGUE.values() if one.group == group):
            low, high = family.bounds
            values = (
                f"After `~` stands a {family.unit}, after `=` [which "
                "context](#contexts)."
                if family.contexts
                else f"From {low:g} to {high:g} ({family.unit}); nothing changes at "
                f"{family.nominal:g}, severity 1 is {family.hardest:g}."
            )
            lines += [f"**`{family.name}`**: {family.summary} {values}", ""]
            shown = f"{family.name}: the same episode without it and with it"
            lines += [f"![{shown}](../perturbations/{family.name}.png)", ""]
    return "\n".join(lines)


def with_listing(page: str) -> str:
    """The page with the list as the catalogue has it now."""
    before, _, after = page.partition(START)
    return before + START + "\n" + listing() + END + after.partition(END)[2]


if __name__ == "__main__":
    choose_backend()
    matplotlib.use("agg")
    PICTURES.mkdir(exist_ok=True)
    for one in CATALOGUE.values():
        file = PICTURES / f"{one.name}.png"
        if "--all" in sys.argv or not file.is_file():
            file.write_bytes(draw(one))
            print(file.relative_to(ROOT), len(file.read_bytes()))
    PAGE.write_text(with_listing(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
