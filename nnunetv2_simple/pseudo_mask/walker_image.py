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

    def check_channels(self, names: Sequence[str]) -> None:
        """Make sure that a case with channels of these names has what the random walker sees.

        Raises:
            ValueError: If it does not, or a channel is subtracted from itself.
        """
        for channel in (self.channel, self.subtract):
            if channel is not None and not 0 <= channel < len(names):
                raise ValueError(f"there is no channel {channel}, the channels are {list(names)}")
        if self.subtract == self.channel:
            raise ValueError(f"channel {self.channel} less itself is constant: choose another -walker_subtract")

    def __call__(self, channels: Sequence[np.ndarray]) -> np.ndarray:
        image = channels[self.channel].astype(float)
        return image if self.subtract is None else image - channels[self.subtract]
