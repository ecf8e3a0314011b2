"""The arguments of sb3-contrib's recurrent policies, where a policy has no LSTM."""

from collections.abc import Collection

LSTM_ARGUMENTS = (
    "lstm_hidden_size",
    "n_lstm_layers",
    "shared_lstm",
    "enable_critic_lstm",
    "lstm_kwargs",
)
"""Of sb3-contrib's `RecurrentActorCriticPolicy`."""


def refuse_lstm_arguments(given: Collection[str], network: str, remedy: str) -> None:
    """Refuses arguments that only an LSTM or a GRU has.

    Args:
        given: names of the arguments of a policy.
        network: what the policy has instead.
        remedy: what would be right.

    Raises:
        ValueError: one of them is given.
    """
    for name in LSTM_ARGUMENTS:
        if name in given:
            raise ValueError(
                f"{name} is for an LSTM or a GRU, and this policy is {network}: "
                f"{remedy}"
            )
