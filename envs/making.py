"""Making a task as training and evaluation both need it: perturbed, and with a longer
memory.
"""

import difflib
import inspect
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.common import UsageError, shown
from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.checked import Checked, error_line
from spikepropamine.envs.perturbations import Perturbed, parse, reason_against
from spikepropamine.envs.perturbations.notation import (
    Term,
    is_suite,
    load_suite,
    suite_names,
)
from spikepropamine.envs.shown import PreviousActionAndReward, Revealed
from spikepropamine.envs.task import task_attribute
from spikepropamine.reading import read_json

SPREADS = Path(__file__).with_name("spreads.json")
SPREAD_STEPS = 2000
SPREAD_SEED = 0
ENDLESS = 1000  # steps after which an episode is cut, of a task that has no time limit
# arguments that are others in training and evaluation, or change no channel of an
# observation
HELP = ("noise", "told", "max_episode_steps", "render_mode")
Arguments = Mapping[str, Any] | None
_spreads: dict[tuple[str, str], np.ndarray | float] = {}  # found in this process


def make(
    environment: str,
    arguments: Arguments = None,
    perturb: str | None = None,
    previous: bool = False,
    reveal: str | None = None,
) -> gym.Env:
    """An environment, perhaps perturbed, perhaps with its previous action and reward
    observed.

    Args:
        environment: Gymnasium id.
        arguments: of the environment's constructor.
        perturb: text for `Perturbed`; None: the task as it is. Noise of its sensors is
            scaled by the task's `spread`.
        previous: wrapped, outermost, in `PreviousActionAndReward`, which shows what the
            policy did and not what became of it.
        reveal: wrapped in `Revealed`, which shows the task's own context, and the
            contexts and values of this text for `Perturbed`, also where `perturb` has
            none of them, and no others.

    Raises:
        ValueError: the environment cannot be made so; the message says why.
    """
    env = _made(environment, arguments)
    try:
        if reveal is not None:
            perturb = with_contexts(perturb or "", reveal) or None
        if perturb is not None:
            needs_spread = any(t.family.scaled_by_spread for t in terms_of(perturb))
            scale = spread(environment, arguments) if needs_spread else 1.0
            env = Perturbed(env, perturb, scale)
        if reveal is not None:
            env = Revealed(env, contexts_of(reveal), nominal_values(reveal))
        if previous:
            env = PreviousActionAndReward(env)
        return env
    except ValueError as error:
        env.close()
        raise ValueError(f"{environment}: {error}") from error


def _made(environment: str, arguments: Arguments) -> gym.Env:
    """An environment as Gymnasium makes it, checked; ValueError: it cannot be made."""
    meant = f"{environment} with {dict(arguments)}" if arguments else environment
    try:
        entry_point = gym.spec(environment).entry_point
        if isinstance(entry_point, str):
            # imports MuJoCo, if it is needed
            gym.envs.registration.load_env_creator(entry_point)
        if "mujoco" in sys.modules:
            quiet_mujoco()
        with warnings.catch_warnings():
            # Gymnasium's advice about older versions of a task
            warnings.simplefilter("ignore")
            return Checked(gym.make(environment, **dict(arguments or {})))
    except gym.error.UnregisteredEnv as error:
        raise ValueError(
            f"{meant}: {error}; one of your own needs --import MODULE"
        ) from error
    except (TypeError, ValueError, ImportError, gym.error.Error) as error:
        raise ValueError(f"{meant}: {error}") from error
    except (Exception, SystemExit) as error:  # the arguments meet code of others
        raise ValueError(f"{meant}: {error_line(error)}") from error


def plain_arguments(environment: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the plain task: without noise and help that training may have.

    Evaluation, `enjoy`, `export` and `make_env` of a policy all have this task.

    Args:
        environment: Gymnasium id.
        arguments: of the task's constructor in training.

    Returns:
        The arguments with `noise` and `told` 0 where the task has them, and without a
        `render_mode`.

    Raises:
        ValueError: the task cannot be made.
    """
    plain = {name: x for name, x in arguments.items() if name != "render_mode"}
    if _has_noise(environment):
        plain["noise"] = 0.0
    with closing(make(environment, plain)) as env:
        if task_attribute(env, "told") is not None:
            plain["told"] = 0.0
    return plain


def _has_noise(environment: str) -> bool:
    """Whether the environment has a noise of its own: a number, as an argument
    `noise`.
    """
    try:
        entry: Any = gym.spec(environment).entry_point
        create = (
            gym.envs.registration.load_env_creator(entry)
            if isinstance(entry, str)
            else entry
        )
    except (gym.error.Error, ImportError):
        return False  # making it tells what is wrong
    parameter = inspect.signature(create).parameters.get("noise")
    return parameter is not None and isinstance(parameter.default, int | float)


def split_env(env: str) -> tuple[str, list[str]]:
    """The Gymnasium id in ID or MODULE:ID; and a list: the module, or nothing."""
    module, _, name = env.rpartition(":")
    return name, [module] if module else []


def check_env_id(env: str, imports: Sequence[str] = ()) -> None:
    """Checks that Gymnasium knows an environment.

    Args:
        env: its id.
        imports: the user's own modules, which have been imported.

    Raises:
        UsageError: it does not; the message has the nearest names.
    """
    try:
        gym.spec(env)
    except (gym.error.Error, ValueError) as error:
        hint = "`spikepropamine list envs` has all;"
        near = difflib.get_close_matches(env, gym.registry, n=3)
        if near:
            hint = f"did you mean {', '.join(near)}?"
        where = "one of your own needs --import MODULE"
        if imports:
            where = f"{', '.join(imports)} registers none of that name"
        raise UsageError(f"unknown environment {shown(env)}; {hint} {where}") from error


def horizon_of(env: gym.Env) -> int | None:
    """Steps of an episode at most; None where there is no limit."""
    limits = [task_attribute(env, "episode_steps")]
    if env.spec is not None:
        limits.append(env.spec.max_episode_steps)
    return min((limit for limit in limits if limit), default=None)


def training_text(perturb: str, environment: str, arguments: Arguments = None) -> str:
    """What training under some perturbations means, as a text for `Perturbed`.

    Args:
        perturb: such a text, which stays as it is; or the name of a suite. Of a suite,
            each episode draws one of the conditions that training may use and that
            change something here, or none of them (but contexts include the plain one).
        environment: Gymnasium id.
        arguments: of the environment's constructor.

    Raises:
        ValueError: the environment cannot be made; or a part of the text, or all of the
            suite, would change nothing in it.
    """
    if is_suite(perturb):
        reasons = training_conditions(perturb, environment, arguments)
        texts = [text for text, reason in reasons.items() if not reason]
        if not texts:
            why = next(iter(reasons.values()), "it has no conditions for training")
            raise ValueError(
                f"nothing of the suite {perturb} applies to {environment}: {why}"
            )
        if not all(contexts_of(text) for text in texts):
            texts = ["none", *texts]
        return " | ".join(texts)
    with closing(make(environment, arguments)) as env:
        reason = reason_against(env, perturb, horizon=horizon_of(env))
    if not reason:
        return perturb
    near = difflib.get_close_matches(perturb, suite_names(), n=1, cutoff=0.8)
    if near:
        reason = f"did you mean the suite {near[0]}? Or: {reason}"
    raise ValueError(f"{environment}: {reason}")


def training_conditions(
    suite: str, environment: str, arguments: Arguments = None
) -> dict[str, str]:
    """The conditions of a suite that training may use.

    Args:
        suite: name of a suite, or a file.
        environment: Gymnasium id.
        arguments: of the environment's constructor.

    Returns:
        Their texts, each with the reason why it would change nothing in the
        environment; empty where it would.

    Raises:
        ValueError: the environment cannot be made, or the suite needs a limit of its
            episodes.
    """
    with closing(make(environment, arguments)) as env:
        horizon = horizon_of(env)
        conditions = load_suite(suite, environment, horizon)
        texts = [one.text for one in conditions if one.split == "train"]
        return {text: reason_against(env, text, horizon=horizon) for text in texts}


def revealed_text(settings: Mapping[str, Any]) -> str | None:
    """What `make` has to reveal to a policy that was trained with these settings.
    Raises ValueError where what they perturb cannot be made.
    """
    if not settings.get("reveal", False):
        return None
    if settings["perturb"] is None:
        return ""  # the task's own context
    return training_text(settings["perturb"], settings["env"], settings["env_kwargs"])


def contexts_of(text: str) -> list[str]:
    """The labels of the contexts of a text for `Perturbed`, or of none."""
    return list(
        dict.fromkeys(term.label for term in terms_of(text) if term.family.contexts)
    )


def nominal_values(text: str) -> dict[str, float]:
    """Of what perturbs in a text besides contexts, by label."""
    return {t.label: t.family.nominal for t in terms_of(text) if not t.family.contexts}


def with_contexts(text: str, trained: str) -> str:
    """A text with all contexts of the training text: 0, as in the plain task, where it
    has none.

    Args:
        text: for `Perturbed`.
        trained: the text that the policy was trained under.

    Raises:
        ValueError: `text` has contexts of the same family on other channels.
    """
    families = {term.family.name for term in terms_of(trained) if term.family.contexts}
    for term in terms_of(text):
        if term.family.name in families and term.label not in contexts_of(trained):
            known = ", ".join(contexts_of(trained))
            raise ValueError(
                f"a policy that is told of {known} cannot be told of {term.label}"
            )
    plain = [
        f"{label}=0" for label in contexts_of(trained) if label not in contexts_of(text)
    ]
    if not plain:
        return text
    every = [one.strip() for one in text.split("|")]
    return " | ".join(
        " + ".join(plain if x in ("", "none") else [x, *plain]) for x in every
    )


def terms_of(text: str) -> list[Term]:
    """All terms of a text for `Perturbed`, whatever alternative they are of; none of no
    text.
    """
    return [term for one in parse(text) for term in one] if text else []


def spread(environment: str, arguments: Arguments = None) -> np.ndarray | float:
    """Natural standard deviation of each dimension of the task's observation.

    Noise of the sensors is scaled by it: the same in training and evaluation, for every
    policy. It is stored for the tasks of `benchmarks.spreads`, as measured there. For
    others, and where arguments change the shape of the observation (for what is no
    trained robot, where they are others than those it was measured with), it is
    measured under random actions, once a process.

    Args:
        environment: Gymnasium id.
        arguments: of the environment's constructor.

    Returns:
        float64, in the shape of the observation, 0 where it does not vary; 1 where the
        observation is no array of floats.

    Raises:
        ValueError: the environment cannot be made.
    """
    kept = {
        name: value for name, value in (arguments or {}).items() if name not in HELP
    }
    key = environment, json.dumps(kept, sort_keys=True, default=repr)
    if key in _spreads:
        return _spreads[key]
    with closing(make(environment, kept)) as env:
        space = env.observation_space
    stored = read_json(SPREADS).get(environment, {"spread": [], "arguments": {}})
    deviations: np.ndarray | float = 1.0
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        fits = len(stored["spread"]) == int(np.prod(space.shape))
        if fits and stored["arguments"] in (None, kept):
            deviations = np.array(stored["spread"]).reshape(space.shape)
        else:
            how = f"measured under {SPREAD_STEPS} random actions, seed {SPREAD_SEED}"
            print(
                f"{environment}: the scale of its sensors' noise is {how}",
                file=sys.stderr,
            )
            deviations = measured_spread(make(environment, kept))
    return _spreads.setdefault(key, deviations)


def measured_spread(env: gym.Env, steps: int = SPREAD_STEPS) -> np.ndarray:
    """Standard deviation of each dimension of the observation under random actions.

    Args:
        env: is closed afterwards.
        steps: how many observations to take, at least 1.

    Returns:
        float64, in the shape of the observation.
    """
    env.action_space.seed(SPREAD_SEED)
    observation, _ = env.reset(seed=SPREAD_SEED)
    seen = [
        np.array(observation)
    ]  # a copy: what it fills again would be one observation
    while len(seen) < steps:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append(np.array(observation))
        if terminated or truncated:
            seen.append(np.array(env.reset()[0]))
    env.close()
    return np.std(np.asarray(seen, dtype=np.float64), axis=0)
