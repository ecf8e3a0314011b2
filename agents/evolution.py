"""`Evolution`: evolution strategies, which need no gradient, for policies of any
kind.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import cloudpickle
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import maybe_transpose
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from torch import Tensor

from spikepropamine.agents.algorithm import (
    Actor,
    Algorithm,
    Arguments,
    Blueprint,
    Needs,
)
from spikepropamine.agents.members import Episodes, OneByOne, Result, Worker, put
from spikepropamine.agents.ppo import PlasticPPO
from spikepropamine.agents.processes import OnRay, Processes, pack
from spikepropamine.agents.recent import Recent
from spikepropamine.agents.saving import bare
from spikepropamine.agents.search import Search, seed_of
from spikepropamine.options import Count, Few, Positive, Share
from spikepropamine.policies.deployed import Normalisation
from spikepropamine.policies.fast.ppo import PPO
from spikepropamine.policies.parameter_groups import parameter_group
from spikepropamine.policies.spaces import each

FIRST_SEED = 2**31
"""Of training episodes: far above those of evaluations."""


@dataclass(frozen=True)
class EvolutionSettings:
    """Settings of evolution strategies."""

    population: Count = 100
    """Evolution: members of a generation, even; each has an episode in each
    environment."""
    spread: Positive = 0.05
    """Evolution: standard deviation of each parameter over the first population."""
    spread_rate: Share = 0.1
    """Evolution: rate at which these adapt."""
    speed: Positive = 0.07
    """Evolution: longest step of the centre, in initial radii of the population."""
    workers: Few = 1
    """Evolution: processes that evaluate members; the numbers are the same with any."""
    cluster: Literal["none", "ray"] = "none"
    """Evolution: ray: members are evaluated on the Ray cluster at RAY_ADDRESS, or on
    all cores here, instead; the numbers are the same."""


class Evolution(BaseAlgorithm):
    """Evolution strategies, as an algorithm of Stable-Baselines3.

    A member's fitness is its mean return, undiscounted, over one whole episode in each
    of the environments, with deterministic actions. All members of a generation have
    the same episodes. The centre has them too: what is logged as `rollout/` is its own.
    Observations are normalised by the statistics of earlier generations, in the first
    one by those of the first observations. The critic of a policy has no part in it.

    Args:
        policy: "PlasticSpikingPolicy", "MlpPolicy", "MlpLstmPolicy", ...
        env: environment, its id, or environments stepped one by one (a `DummyVecEnv`),
            which `reset(seed=...)` determines.
        population, spread, spread_rate, speed: as for `Search`.
        workers: processes that evaluate members. More than one take environments that
            were made by `policies.fast.environments.SideBySide`.
        cluster: "ray": members are evaluated on a Ray cluster, on as many cores as it
            has.
        device: of the policy.
        common: arguments of all algorithms of SB3, such as `policy_kwargs`; the `seed`
            is of the members and their episodes.

    Raises:
        ValueError: an odd population, environments that are not stepped one by one, are
            in wrappers that change more than the scale, or cannot be sent to other
            processes.
        UsageError: EvoTorch or Ray is not installed.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = (
        PlasticPPO.policy_aliases | PPO.policy_aliases
    )
    kept_parts: ClassVar[dict[str, str]] = {"search": "search"}
    """Attributes that a checkpoint keeps by `contents` and `restore`, by their names in
    it."""
    rollout_buffer: Recent

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        population: int = 100,
        spread: float = 0.05,
        spread_rate: float = 0.1,
        speed: float = 0.07,
        workers: int = 1,
        cluster: Literal["none", "ray"] = "none",
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
        **common: Any,
    ) -> None:
        if population < 2 or population % 2:
            raise ValueError(
                f"population must be an even number, of pairs, got {population}"
            )
        self.population = population
        self.spread = spread
        self.spread_rate = spread_rate
        self.speed = speed
        self.workers = workers
        self.cluster = cluster
        super().__init__(
            policy,
            env,
            learning_rate=0.0,  # of an optimizer that has nothing to do
            device=device,
            support_multi_env=True,
            **common,
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.seed is None:
            self.seed = int(np.random.SeedSequence().generate_state(1)[0] >> 1)
        self.set_random_seed(self.seed)
        make: Any = self.policy_class
        policy = make(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self.policy_kwargs,
        ).to(self.device)
        self.policy = policy
        network: Any = getattr(policy, "network", None)
        self._redraws = network is not None and network.config.fresh_weights == "random"
        # with weights drawn for each episode, a network has one environment
        self._recorded = 1 if self._redraws else self.n_envs
        self._last_lstm_states: RNNStates | None = None
        if network is not None:
            pair = tuple(map(torch.as_tensor, policy.initial_state(self._recorded)))
            self._last_lstm_states = RNNStates(pair, pair)

    @cached_property
    def names(self) -> list[str]:
        """The names of the parameters that evolve; they are fixed with the first
        generation.

        All trained parameters evolve, but for the critic's and those of exploration.
        """
        return [
            name
            for name, parameter in self.policy.named_parameters()
            if parameter.requires_grad
            and parameter_group(name) != "critic"
            and not name.startswith("log_std")
        ]

    @cached_property
    def search(self) -> Search:
        """The distribution of parameters; it begins around those of the policy."""
        centre = torch.cat([x.detach().flatten().cpu() for x in self._evolving()])
        return Search(
            centre, self.population, self.spread, self.spread_rate, self.speed
        )

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        """SB3's. The search goes on if it was at these parameters, and begins anew
        otherwise.
        """
        super().set_parameters(*args, **kwargs)
        before = self.__dict__.pop("search", None)
        if before is not None and torch.equal(before.centre, self.search.centre):
            self.search.restore(before.contents())

    def _evolving(self) -> list[Tensor]:
        return [self.policy.get_parameter(name) for name in self.names]

    def _evaluator(self) -> Worker | Processes | OnRay:
        """What evaluates members."""
        venv: Any = bare(self.env)
        if not hasattr(venv, "envs"):
            raise ValueError(
                f"{type(venv).__name__} does not step environments one by one"
            )
        makers = getattr(venv, "makers", ())
        step_rows = getattr(venv, "step_rows", OneByOne)
        if self.workers == 1 and self.cluster == "none":
            copy = cloudpickle.loads(cloudpickle.dumps(self.policy))
            return Worker(copy, self.names, venv.envs, makers, step_rows)
        if not makers:
            raise ValueError("several workers need environments made by SideBySide")
        packed = pack(self.policy, self.names, makers, step_rows)
        if self.cluster == "ray":
            return OnRay(packed)
        return Processes(packed, self.workers)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "Evolution",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "Evolution":
        """Learns as SB3's algorithms do, but in whole generations, until all their
        members have taken so many steps.

        Args:
            total_timesteps: environment steps of all members together.
            callback: as in SB3.
            log_interval: generations between rows of the log.
            tb_log_name: as in SB3.
            reset_num_timesteps: as in SB3.
            progress_bar: as in SB3.
        """
        total_timesteps, callbacks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        with closing(self._evaluator()) as evaluator:
            callbacks.on_training_start(locals(), globals())
            while self.num_timesteps < total_timesteps:
                if not self._generation(evaluator.results, callbacks):
                    break
                self._update_current_progress_remaining(
                    self.num_timesteps, total_timesteps
                )
                generations = self.search.generations
                if log_interval is not None and generations % log_interval == 0:
                    self.dump_logs(generations)
            callbacks.on_training_end()
        return self

    def dump_logs(self, iteration: int = 0) -> None:
        """Writes the logs, as SB3's on-policy algorithms do."""
        OnPolicyAlgorithm.dump_logs(self, iteration)

    def _generation(self, evaluate: Callable[..., Any], callback: BaseCallback) -> bool:
        """One generation. False: a callback wants no more."""
        callback.on_rollout_start()
        assert self.seed is not None
        search = self.search
        members = search.members(self.seed)
        vectors = [search.centre.numpy(), *members.numpy()]
        results: list[Result] = []
        for result in evaluate(self._episodes(), vectors):
            results.append(result)
            self.num_timesteps += int(result.lengths.sum())
            is_centre = len(results) == 1
            infos = result.infos if is_centre else []
            if is_centre:
                self._update_info_buffer(infos)
            # which callbacks expect of a step of the environments
            callback.update_locals(
                {
                    "rewards": result.returns,
                    "dones": np.ones(self.n_envs, dtype=bool),
                    "infos": infos,
                }
            )
            if not callback.on_step():
                return False
        means = np.array([result.returns.mean() for result in results])
        returns = means[1:]  # of the members; the first is of the centre
        self.logger.record("evolution/centre", float(means[0]))
        self.logger.record("evolution/mean", float(returns.mean()))
        self.logger.record("evolution/best", float(returns.max()))
        self.logger.record("evolution/spread", float(search.state.stdev.mean()))
        self._keep(results[0])
        callback.on_rollout_end()
        search.move(members, returns)
        put(search.centre, self._evolving())
        self._update_statistics(results)
        self._n_updates += 1
        return True

    def _episodes(self) -> Episodes:
        """The episodes that every member of the present generation has."""
        assert self.seed is not None
        generation = self.search.generations
        sequence = np.random.SeedSequence([self.seed, generation, 1])
        seeds = tuple(
            FIRST_SEED + int(stream.generate_state(1)[0] >> 1)
            for stream in sequence.spawn(self.n_envs)
        )
        venv = self.get_vec_normalize_env()
        normalisation = None if venv is None else Normalisation.of(venv)
        return Episodes(seeds, seed_of(self.seed, generation, 2), normalisation)

    def _update_statistics(self, results: list[Result]) -> None:
        """Takes the observations of a generation into those of `VecNormalize`."""
        venv = self.get_vec_normalize_env()
        if venv is None or not venv.norm_obs or not venv.training:
            return
        statistics = venv.obs_rms
        named = statistics if isinstance(statistics, dict) else {"": statistics}
        for key, part in named.items():
            for result in results:
                part.update_from_moments(*result.moments[key])

    def _keep(self, centre: Result) -> None:
        """What happened to the centre, where readers of on-policy algorithms look for
        it.
        """
        assert centre.record is not None
        record = centre.record
        rows = slice(0, self._recorded)
        actions = record.actions[:, rows]
        actions = actions.reshape(len(actions), self._recorded, -1)
        observations = each(lambda x: x[:, rows], record.observations)
        space = self.policy.observation_space
        if isinstance(space, spaces.Dict):
            observations = {
                key: _channels_first(x, space[key]) for key, x in observations.items()
            }
        else:
            observations = _channels_first(observations, space)
        starts = record.starts[:, rows].astype(np.float32)
        self.rollout_buffer = Recent(observations, actions, starts)
        if self._redraws:
            network: Any = self.policy.network
            network.redraw(record.drawn)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rollout_buffer", "_last_lstm_states"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


def _channels_first(observations: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """The observations of a rollout [T, B, ...], in which pictures have their channels
    where the policy's space has them.
    """
    steps, rows, *shape = observations.shape
    flat = maybe_transpose(observations.reshape(steps * rows, *shape), space)
    return flat.reshape(steps, rows, *flat.shape[1:])


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments of the constructor of `Evolution`, but for policy and
    environments.
    """
    trainer = blueprint.trainer
    return {
        "seed": blueprint.seed,
        "device": blueprint.device,
        "population": trainer.population,
        "spread": trainer.spread,
        "spread_rate": trainer.spread_rate,
        "speed": trainer.speed,
        "workers": trainer.workers,
        "cluster": trainer.cluster,
    }


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    """Makes the algorithm for a kind of actor."""
    policy = actor.actor_critic(blueprint)
    return Evolution(
        policy.name,
        blueprint.venv,
        policy_kwargs=policy.arguments,
        **arguments(blueprint),
    )


def _rollout_steps(model: Evolution, longest: int) -> int:
    """Environment steps of a generation, if its episodes are as long as can be."""
    return (model.population + 1) * model.n_envs * longest


def _generations(model: Evolution) -> int:
    return model.search.generations


ALGORITHM = Algorithm(
    name="evolution",
    settings=EvolutionSettings,
    arguments=arguments,
    make=_make,
    sections=("evolution",),
    needs=Needs(package="evotorch", whole_episodes=True, processors_only=True),
    refuses={
        "cue": "--cue is for learning by gradients, not for evolution",
        "critic_told": "--critic-told is for learning by gradients, not for evolution",
        "critic_first": "--critic-first is for trainer.kind ppo",
    },
    # nothing is differentiated
    ignores=frozenset(
        {
            "normalize_rewards",
            "cue",
            "critic_told",
            "critic_first",
            "threads",
            "network.slope",
            "network.surrogate",
        }
    ),
    draws_weights=True,
    raw_rewards=True,
    rollout_steps=_rollout_steps,
    rollouts=_generations,
)
