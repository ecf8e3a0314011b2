"""SB3's features extractors for an LSTM, which wants the width of its input as a Python int."""

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
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


def extractor_for(
    space: spaces.Space, normalize_images: bool = True, lstm: bool = False
) -> type[BaseFeaturesExtractor]:
    """SB3's extractor for observations of a space, for an LSTM or for others."""
    if isinstance(space, spaces.Dict):  # which has a CNN for its images
        return LstmCombinedExtractor if lstm else CombinedExtractor
    if is_image_space(space, normalized_image=not normalize_images):
        return NatureCNN
    return LstmFlattenExtractor if lstm else FlattenExtractor
