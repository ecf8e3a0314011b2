"""What is equal for every library that `benchmarks.frameworks` times: the task, and the
settings that all libraries have.

Drivers run in environments that have their library and nothing of this project.
"""

TASK = "HalfCheetah-v5"
PPO_ENVIRONMENTS = 8

HIDDEN = [64, 64]
"""Widths of the tanh layers of PPO's actor and of its critic: Stable-Baselines3's."""
PPO = {
    "learning_rate": 3e-4,
    "n_steps": 256,  # in each of 8 environments: 2048 in all
    "batch_size": 64,
    "n_epochs": 10,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
"""Stable-Baselines3's defaults, by its names."""
LSTM = 64
"""Units of the actor's LSTM and of the critic's, each before layers of `HIDDEN`."""
RECURRENT = PPO | {"n_steps": 128, "batch_size": 128}
"""sb3-contrib's defaults of RecurrentPPO: a minibatch is a sequence of 128 steps."""
SAC_HIDDEN = [256, 256]
"""Widths of the ReLU layers of SAC's actor and of its critics."""
SAC = {
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
    "train_freq": 1,
    "gradient_steps": 1,
}
"""Stable-Baselines3's defaults, by its names, in one environment."""

WARM_UP = {"ppo": 4096, "recurrent": 1024, "sac": 256}
"""Environment steps before the first round: what is compiled is compiled then."""
ROUND = {"ppo": 4096, "recurrent": 8192, "sac": 128}
"""Environment steps of a round: whole rollouts with their updates. Recurrent updates
take longer where episodes begin, as they do once in 8 rollouts of 8 x 128 steps.
"""
ENDLESS = 1_000_000_000
"""More steps than any driver takes."""
