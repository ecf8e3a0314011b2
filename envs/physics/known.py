"""Which environments the batched physics knows: there it gives Gymnasium's numbers.

It knows a task by the source of its class, not by its name: a subclass, another version
of Gymnasium whose code differs, or a wrapper that it cannot express are not known, and
whoever asks lets Gymnasium step these environments.
"""

import hashlib
import inspect
import io
import itertools
import tokenize
from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from spikepropamine.envs.checked import Checked
from spikepropamine.envs.perturbations import Perturbed, parse
from spikepropamine.envs.physics.robots import NotKnown, Robot, record_of
from spikepropamine.envs.shown import PreviousActionAndReward, Revealed

TRANSPARENT = (OrderEnforcing, PassiveEnvChecker, Checked)
"""Wrappers that change nothing of what a known task gives."""
PACKAGE = "spikepropamine.envs.perturbations"
ENGINE = (
    "step", "do_simulation", "_step_mujoco_simulation", "get_body_com", "state_vector",
    "dt",
)  # fmt: skip
"""Of Gymnasium's `MujocoEnv`, what a step consists of."""
BEGINNINGS = ("__init__", "reset_model", "_get_reset_info")
"""Of a task, what is left to Gymnasium."""


def robot_of(task: gym.Env) -> Robot:
    """The record of an unwrapped environment.

    Raises:
        NotKnown: there is none, or it was written for other code than is installed.
    """
    robot = record_of(task)
    kind: Any = type(task)
    if digest(kind) not in robot.digests:
        raise NotKnown(
            f"Gymnasium {gym.__version__} has other code for {kind.__name__} than the "
            "versions that are known"
        )
    return robot


@cache
def digest(kind: type) -> str:
    """Of the code of a task's class that `robots` has in arrays, and of MujocoEnv's
    that it calls; comments, docstrings and layout do not count.
    """
    module = inspect.getmodule(kind)
    functions: list[Callable[..., Any]] = [
        function
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == kind.__module__
    ]
    for name, member in vars(kind).items():
        if name not in BEGINNINGS and (
            inspect.isfunction(member) or isinstance(member, property)
        ):
            functions.append(_function(member))
    functions += [_function(vars(MujocoEnv)[name]) for name in ENGINE]
    return digest_of(functions)


def digest_of(functions: list[Callable[..., Any]]) -> str:
    """Of the tokens of functions, in their order."""
    total = hashlib.sha256()
    for function in functions:
        total.update(_code(inspect.getsource(function)).encode())
    return total.hexdigest()[:16]


def _function(member: Any) -> Any:
    return member.fget if isinstance(member, property) else member


def _code(source: str) -> str:
    """The tokens of a function without its comments and docstrings."""
    layout = (
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE,
        tokenize.INDENT, tokenize.DEDENT,
    )  # fmt: skip
    words: list[str] = []
    starts_line = True
    indented = "if True:\n" + source if source[0].isspace() else source
    for token in tokenize.generate_tokens(io.StringIO(indented).readline):
        if token.type in layout:
            starts_line = True
            continue
        docstring = starts_line and token.type == tokenize.STRING
        starts_line = False
        if not docstring:
            words.append(token.string)
    return "".join(words)


def limit_of(env: gym.Env) -> int | None:
    """The number of steps after which an episode is cut; None: it is not."""
    limits: list[int] = []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            limits.append(env._max_episode_steps)
        env = env.env
    return min(limits, default=None)


def layers_of(env: gym.Env) -> list[gym.Wrapper]:
    """The wrappers that change what is seen or done, the outermost first.

    Raises:
        NotKnown: a wrapper is of another kind than those that are known.
    """
    layers: list[gym.Wrapper] = []
    while isinstance(env, gym.Wrapper):
        if type(env) in (Perturbed, PreviousActionAndReward, Revealed):
            layers.append(env)
        elif type(env) is not TimeLimit and type(env) not in TRANSPARENT:
            raise NotKnown(f"the wrapper {type(env).__name__} is not known")
        if isinstance(env, Perturbed):
            check_families(env)
        env = env.env
    return layers


def check_families(env: Perturbed) -> None:
    """Raises NotKnown where a family from elsewhere may change what a step reads."""
    for term in itertools.chain.from_iterable(parse(env.text)):
        for hook in (
            term.family.edit_model,
            term.family.edit_spec,
            term.family.edit_task,
        ):
            function: Any = getattr(hook, "func", hook)
            if function is not None and not function.__module__.startswith(PACKAGE):
                raise NotKnown(
                    f"{term.family.name} is a perturbation of somebody's own"
                )


def constants(task: MujocoEnv) -> dict[str, Any]:
    """What a task was made with: its attributes that are numbers, texts, or tuples."""
    plain = int | float | str | tuple | np.generic
    return {
        name: value
        for name, value in vars(task).items()
        if isinstance(value, plain) and not name.startswith(("_np_random", "_ezpickle"))
    }


def check_alike(tasks: list[Any]) -> None:
    """Raises NotKnown unless all tasks are of one kind with the same constants, and are
    not drawn at every step.
    """
    first = constants(tasks[0])
    for task in tasks:
        if type(task) is not type(tasks[0]) or constants(task) != first:
            raise NotKnown("they differ in more than their seeds")
        if task.render_mode == "human":
            raise NotKnown("render_mode human shows every step in a window")
