"""SB3's features extractors for an LSTM, which wants the width of its input as a Python int."""

from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
)


class _WholeWidth(BaseFeaturesExtractor):
    @property
    def features_dim(self) -> int:
        """The width, a NumPy number in SB3 where an observation is MultiDiscrete."""
        return int(self._features_dim)


class LstmFlattenExtractor(_WholeWidth, FlattenExtractor):
    """`FlattenExtractor` with a width that `nn.LSTM` takes."""


class LstmCombinedExtractor(_WholeWidth, CombinedExtractor):
    """`CombinedExtractor` with a width that `nn.LSTM` takes."""


# by the names under which SB3 and policy folders know the policies
LSTM_EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "MlpLstmPolicy": LstmFlattenExtractor,
    "MultiInputLstmPolicy": LstmCombinedExtractor,
    "RecurrentActorCriticPolicy": LstmFlattenExtractor,
    "RecurrentMultiInputActorCriticPolicy": LstmCombinedExtractor,
}
