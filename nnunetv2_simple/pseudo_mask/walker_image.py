"""Which image of a case the scribbles and the random walker see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WalkerImage:
    """Which image the scribbles and the random walker see.

    Attributes:
        channel: Index of the channel.
        subtract: Index of a channel to subtract, such as the pre-contrast one; None for none.
    """

    channel: int = 0
    subtract: int | None = None

    def __call__(self, channels: Sequence[np.ndarray]) -> np.ndarray:
        image = channels[self.channel].astype(float)
        return image if self.subtract is None else image - channels[self.subtract]
