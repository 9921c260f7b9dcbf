"""Names of channels: nnU-Net normalises by them."""

import re
from collections.abc import Iterator, Sequence

import SimpleITK as sitk

DEFAULT_CHANNELS = ("MR",)
CT = "CT"  # nnU-Net normalises a channel of this name, in any letters, with the intensities of all cases
CT_LIKE = re.compile(r"(?:.*[^a-z])?ct", re.IGNORECASE)  # CTA, CT_venous, low-dose-CT
AIR = -500.0  # HU, about halfway between air and soft tissue: other modalities seldom reach so low


def ct_warnings(channels: Sequence[sitk.Image], channel_names: Sequence[str]) -> Iterator[str]:
    """Say which channels look like CT, but have a name by which nnU-Net does not normalise them as CT.

    Args:
        channels: The images of a case.
        channel_names: Their names. Names that state another modality than the default are believed.
    """
    for number, (channel, name) in enumerate(zip(channels, channel_names, strict=True)):
        is_doubtful = name in DEFAULT_CHANNELS or CT_LIKE.match(name)
        if is_doubtful and name.casefold() != CT.casefold() and sitk.GetArrayViewFromImage(channel).min() < AIR:
            yield (
                f"channel {number} is called {name}, but holds values below {AIR:g} as CT does; nnU-Net normalises CT "
                f"as such only if the channel is called {CT}: -channels {CT}"
            )
