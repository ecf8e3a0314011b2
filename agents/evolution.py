"""`Evolution`: evolution strategies, which need no gradient, for policies of any kind.

Parameter-exploring policy gradients (Sehnke et al. 2010) with antithetic pairs, centred ranks and
ClipUp (Toklu et al. 2020) are EvoTorch's: all that its functional form goes on from is three
vectors, which a checkpoint holds and a seed makes exact. The alternative, cma, is smaller to
install, but its state can only be pickled, and its adaptation is slow for so many parameters.
"""

from collections.abc import Callable
from contextlib import closing
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

from spikepropamine.agents.buffer import each
from spikepropamine.agents.members import (
    Episodes,
    OnRay,
    Processes,
    Result,
    Worker,
    pack,
    put,
)
from spikepropamine.agents.plastic_ppo import PlasticPPO
from spikepropamine.agents.plastic_sac import Recent
from spikepropamine.agents.saving import bare
from spikepropamine.common import require
from spikepropamine.policies.deployed import Normalisation
from spikepropamine.policies.fast.ppo import PPO
from spikepropamine.policies.policy import parameter_group


class Search:
    """A distribution of parameters that moves to where returns are high: a centre, and a spread of
    each parameter. A generation's members depend on it, the seed and the generation alone.

    It begins at `centre`, [n] float32, with one `spread`, a standard deviation, of all parameters;
    they adapt at `spread_rate`. The `population`, of members of a generation, is even. `speed` is
    the longest step of the centre, in initial radii (spread times sqrt(n)); ClipUp's step size is
    half of it.
    """

    def __init__(
        self,
        centre: Tensor,
        population: int,
        spread: float,
        spread_rate: float,
        speed: float,
    ) -> None:
        require("evotorch", "evolution", "evolution")
        from evotorch.algorithms import functional

        self.ask, self.tell = functional.pgpe_ask, functional.pgpe_tell
        self.population, self.generations = population, 0
        step = speed * spread * len(centre) ** 0.5
        self.state = functional.pgpe(
            center_init=centre,
            center_learning_rate=step / 2,
            optimizer_config={"max_speed": step},
            stdev_init=spread,
            stdev_learning_rate=spread_rate,
            objective_sense="max",
        )

    @property
    def centre(self) -> Tensor:
        """[n]."""
        return self.state.optimizer_state.center

    def members(self, seed: int) -> Tensor:
        """Of the present generation, [population, n], in antithetic pairs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_number(seed, self.generations, 0))
            return self.ask(self.state, popsize=self.population)

    def move(self, members: Tensor, returns: np.ndarray) -> None:
        """Moves on to the next generation, by the members' returns [population]."""
        evaluations = torch.as_tensor(returns, dtype=members.dtype)
        self.state = self.tell(self.state, members, evaluations)
        self.generations += 1

    def contents(self) -> dict[str, Any]:
        """All that decides how it goes on, for a checkpoint."""
        optimizer = self.state.optimizer_state
        vectors = {"centre": optimizer.center, "velocity": optimizer.velocity}
        return vectors | {"spread": self.state.stdev, "generations": self.generations}

    def restore(self, contents: dict[str, Any]) -> None:
        """Goes on from `contents`; raises ValueError where other parameters evolved."""
        found = [contents[name] for name in ("centre", "velocity", "spread")]
        if any(
            x.shape != self.centre.shape or x.dtype != self.centre.dtype for x in found
        ):
            raise ValueError(f"{len(self.centre)} parameters evolve")
        centre, velocity, spread = found
        optimizer = self.state.optimizer_state._replace(
            center=centre, velocity=velocity
        )
        self.state = self.state._replace(optimizer_state=optimizer, stdev=spread)
        self.generations = int(contents["generations"])


def _number(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


class Evolution(BaseAlgorithm):
    """Evolution strategies, as an algorithm of Stable-Baselines3.

    A member's fitness is its mean return, undiscounted, over one whole episode in each of the
    environments, with deterministic actions. All members of a generation have the same episodes.
    The centre has them too: what is logged as `rollout/` is its own. Observations are normalised by
    the statistics of earlier generations, in the first one by those of the first observations. The
    critic of a policy has no part in it.

    Args:
        policy: "PlasticSpikingPolicy", "MlpPolicy", "MlpLstmPolicy", ...
        env: environment, its id, or environments stepped one by one (a `DummyVecEnv`), which
            `reset(seed=...)` determines.
        population, spread, spread_rate, speed: as for `Search`.
        workers: processes that evaluate members. More than one take environments that were made
            by `policies.fast.environments.SideBySide`.
        cluster: "ray": members are evaluated on a Ray cluster, on as many cores as it has.
        common: arguments of all algorithms of SB3, such as `policy_kwargs`; the `seed` is of the
            members and their episodes.

    Raises:
        ValueError: an odd population, environments that are not stepped one by one, are in wrappers
            that change more than the scale, or cannot be sent to other processes.
        UsageError: EvoTorch or Ray is not installed.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = (
        PlasticPPO.policy_aliases | PPO.policy_aliases
    )
    rollout_buffer: Any

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
        self.population, self.spread, self.spread_rate = population, spread, spread_rate
        self.speed, self.workers, self.cluster = speed, workers, cluster
        common |= {"device": device, "support_multi_env": True}
        # of an optimizer that has nothing to do
        super().__init__(policy, env, learning_rate=0.0, **common)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.seed is None:
            self.seed = int(np.random.SeedSequence().generate_state(1)[0] >> 1)
        self.set_random_seed(self.seed)
        policy: Any = self.policy_class
        self.policy = made = policy(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self.policy_kwargs,
        ).to(self.device)
        network: Any = getattr(made, "network", None)
        self._redraws = network is not None and network.config.fresh_weights == "random"
        # of an episode with weights of its own, there is one in a batch
        self._recorded = 1 if self._redraws else self.n_envs
        self._last_lstm_states: Any = None
        if network is not None:
            pair = tuple(map(torch.as_tensor, made.initial_state(self._recorded)))
            self._last_lstm_states = RNNStates(pair, pair)

    @cached_property
    def names(self) -> list[str]:
        """Of the parameters that evolve: all that are trained, but for the critic's and those of
        exploration; they are fixed with the first generation.
        """
        named = [(n, x) for n, x in self.policy.named_parameters() if x.requires_grad]
        names = [n for n, _ in named if parameter_group(n) != "critic"]
        return [n for n in names if not n.startswith("log_std")]

    @cached_property
    def search(self) -> Search:
        """The distribution of parameters; it begins around those of the policy."""
        centre = torch.cat([x.detach().flatten().cpu() for x in self._evolving()])
        return Search(
            centre, self.population, self.spread, self.spread_rate, self.speed
        )

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        """SB3's. The search goes on if it was at these parameters, and begins anew otherwise."""
        super().set_parameters(*args, **kwargs)
        before = self.__dict__.pop("search", None)
        if before is not None and torch.equal(before.centre, self.search.centre):
            self.search.restore(before.contents())

    def _evolving(self) -> list[Tensor]:
        return [self.policy.get_parameter(name) for name in self.names]

    def _evaluator(self) -> Worker | Processes | OnRay:
        venv: Any = bare(self.env)
        if not hasattr(venv, "envs"):
            raise ValueError(
                f"{type(venv).__name__} does not step environments one by one"
            )
        makers = getattr(venv, "makers", ())
        if self.workers == 1 and self.cluster == "none":
            copy = cloudpickle.loads(cloudpickle.dumps(self.policy))
            return Worker(copy, self.names, venv.envs, makers)
        if not makers:
            raise ValueError("several workers need environments made by SideBySide")
        packed = pack(self.policy, self.names, makers)
        return (
            OnRay(packed) if self.cluster == "ray" else Processes(packed, self.workers)
        )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "Evolution",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "Evolution":
        """As in SB3: whole generations, until all their members have taken so many steps."""
        total_timesteps, called = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        with closing(self._evaluator()) as evaluator:
            called.on_training_start(locals(), globals())
            while self.num_timesteps < total_timesteps:
                if not self._generation(evaluator.results, called):
                    break
                self._update_current_progress_remaining(
                    self.num_timesteps, total_timesteps
                )
                if (
                    log_interval is not None
                    and self.search.generations % log_interval == 0
                ):
                    self.dump_logs(self.search.generations)
            called.on_training_end()
        return self

    def dump_logs(self, iteration: int = 0) -> None:
        """As in SB3's on-policy algorithms."""
        OnPolicyAlgorithm.dump_logs(self, iteration)  # type: ignore[arg-type]

    def _generation(self, results: Callable[..., Any], callback: BaseCallback) -> bool:
        """One generation. False: a callback wants no more."""
        callback.on_rollout_start()
        assert self.seed is not None
        search, normalised = self.search, self.get_vec_normalize_env()
        streams = np.random.SeedSequence([self.seed, search.generations, 1]).spawn(
            self.n_envs
        )
        episodes = Episodes(
            # far above those of evaluations
            tuple(2**31 + int(stream.generate_state(1)[0] >> 1) for stream in streams),
            _number(self.seed, search.generations, 2),
            None if normalised is None else Normalisation.of(normalised),
        )
        members = search.members(self.seed)
        vectors = [search.centre.numpy(), *members.numpy()]
        found: list[Result] = []
        for result in results(episodes, vectors):
            found.append(result)
            self.num_timesteps += int(result.lengths.sum())
            infos, rewards, dones = [], result.returns, np.ones(self.n_envs, dtype=bool)
            if len(found) == 1:
                infos = result.infos
                self._update_info_buffer(infos)
            callback.update_locals({"rewards": rewards, "dones": dones, "infos": infos})
            if not callback.on_step():
                return False
        centre, *others = (result.returns.mean() for result in found)
        returns, spread = np.array(others), search.state.stdev.mean()
        values = centre, returns.mean(), returns.max(), spread
        for name, value in zip(("centre", "mean", "best", "spread"), values):
            self.logger.record(f"evolution/{name}", float(value))
        self._keep(found[0])
        callback.on_rollout_end()
        search.move(members, returns)
        put(search.centre, self._evolving())
        if normalised is not None and normalised.norm_obs and normalised.training:
            named = (
                normalised.obs_rms
            )  # of what is normalised, by key where there are keys
            for key, part in (
                named if isinstance(named, dict) else {"": named}
            ).items():
                for result in found:
                    part.update_from_moments(*result.moments[key])
        self._n_updates += 1
        return True

    def _keep(self, centre: Result) -> None:
        """What happened to the centre, where readers of on-policy algorithms look for it."""
        assert centre.record is not None
        observations, actions, starts, drawn = centre.record
        rows = slice(0, self._recorded)
        actions = actions[:, rows].reshape(len(actions), self._recorded, -1)
        observations = each(lambda x: x[:, rows], observations)
        if isinstance(space := self.policy.observation_space, spaces.Dict):
            observations = {
                key: _channels_first(x, space[key]) for key, x in observations.items()
            }
        else:
            observations = _channels_first(observations, space)
        self.rollout_buffer = Recent(observations, actions, np.float32(starts[:, rows]))
        if self._redraws:
            self.policy.network.redraw(drawn)  # type: ignore[union-attr,operator]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rollout_buffer", "_last_lstm_states"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


def _channels_first(observations: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Of a rollout [T, B, ...]; pictures with the channels where the policy's space has them."""
    steps, rows, *shape = observations.shape
    flat = maybe_transpose(observations.reshape(steps * rows, *shape), space)
    return flat.reshape(steps, rows, *flat.shape[1:])
