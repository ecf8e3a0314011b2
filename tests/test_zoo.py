"""What a policy's name and its settings build."""

import pytest
from conftest import make_venv

from spikepropamine.agents.zoo import OF_PPO, TrainerSettings, build
from spikepropamine.policies import NetworkConfig


@pytest.mark.parametrize("agent", ["mlp", "lstm", "gru", "ndp-oja"])
def test_every_setting_of_the_trainer_arrives(agent):
    trainer = TrainerSettings(
        learning_rate=0.01, learning_rate_schedule="linear", n_steps=24, batch_size=12,
        sequence_length=6, n_epochs=3, gamma=0.8, gae_lambda=0.7, clip_range=0.15, target_kl=0.3,
        ent_coef=0.02, vf_coef=0.4, max_grad_norm=0.6, log_std_init=-1.0, critic=(5, 4),
        critic_sees_spikes=False,
    )  # fmt: skip
    model = build(agent, make_venv(action="box"), NetworkConfig(hidden=(6, 6)), trainer)
    for name in OF_PPO:
        value = getattr(model, name)
        assert (value(1.0) if callable(value) else value) == getattr(trainer, name), name
    assert [model.lr_schedule(left) for left in (1.0, 0.5, 0.1)] == pytest.approx(
        [0.01, 0.005, 0.001]
    )
    assert (model.policy.log_std == -1.0).all()
    widths = [
        m.out_features for m in model.policy.mlp_extractor.value_net if hasattr(m, "out_features")
    ]
    assert widths == [5, 4]
    if agent == "ndp-oja":
        assert not model.policy.mlp_extractor.sees_spikes
    if agent != "mlp":
        assert model.sequence_length == 6
