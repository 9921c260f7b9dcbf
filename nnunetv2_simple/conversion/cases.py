"""What a conversion starts from: the cases, and what all of them are converted with."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunetv2_simple import __version__
from nnunetv2_simple.arguments import DEFAULT_CLASS, check_labels
from nnunetv2_simple.files import check_is_utf8, printable
from nnunetv2_simple.pseudo_mask.generate import PAPER_DEFAULTS
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

DEFAULT_RECIPE = "robust"
MAX_IDENTIFIER_LENGTH = 200  # file names end at 255, with what comes before and after the identifier
IDENTIFIER = rf"[A-Za-z0-9][A-Za-z0-9_.-]{{,{MAX_IDENTIFIER_LENGTH - 1}}}"  # what a case may be called


@dataclass(frozen=True)
class Case:
    """What is known of one case before the conversion.

    Attributes:
        identifier: nnU-Net's case identifier. Bytes of a file name that are not UTF-8 become like xe4; the case can
            only fail then.
        image_files: One file per channel.
        annotation_files: The annotated lesions (see :func:`nnunetv2_simple.extreme_points.lesions.read_lesions`).
        mask_file: A dense mask. Kept as reference; without ``annotation_files`` the clicks are simulated from it.
        painted_file: A dense mask that is learned as it is, of all classes that are not clicked in this case.
        evidence_file: What another model says of the case: probabilities or a mask.
        is_test: Whether the case is kept out of training: its image goes to imagesTs and gets no label.
        is_validation: Whether the case is what the dataset's own split validates on.
        is_negative: Whether the case is known to have no lesion; it needs neither annotation nor mask then.
        may_hold_more: Whether the case may hold lesions that nobody annotated, where the conversion has a margin for
            such cases.
        problems: Known reasons why the case cannot be converted.
        warnings: What is known to be valid but suspicious about it.
    """

    identifier: str
    image_files: tuple[str, ...]
    annotation_files: tuple[str, ...] = ()
    mask_file: str | None = None
    painted_file: str | None = None
    evidence_file: str | None = None
    is_test: bool = False
    is_validation: bool = False
    is_negative: bool = False
    may_hold_more: bool = True
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        if printable(self.identifier) != self.identifier:
            object.__setattr__(self, "identifier", printable(self.identifier).replace("\\", ""))

    def parameters(self) -> dict:
        """Return, as JSON has it, what decides beside files and :meth:`Conversion.parameters` on what is written."""
        return {"is_test": self.is_test, "is_negative": self.is_negative, "may_hold_more": self.may_hold_more}


def unannotated_cases(cases: Iterable[Case]) -> list[str] | None:
    """Return the training cases that may hold lesions nobody annotated, None if all may."""
    training = [case for case in cases if not case.is_test]
    found = [case.identifier for case in training if case.may_hold_more]
    return found if len(found) < len(training) else None


@dataclass(frozen=True)
class Conversion:
    """What all cases of a dataset are converted with.

    Attributes:
        dataset_folder: ``DatasetXXX_Name`` in nnUNet_raw.
        channel_names: nnU-Net's channel names; they decide the normalisation.
        labels: The label of each foreground class, 1 to K. The ignore label is K + 1.
        walker_image: Which channel, or difference of channels, the random walker sees.
        recipe: See :func:`nnunetv2_simple.pseudo_mask.generate.generate_pseudo_mask`.
        beta: As above, of the recipe "paper"; its default if None.
        subtraction_channel: Whether the difference that the random walker sees becomes the last channel.
        unannotated_margin_mm: Only voxels this close to the boxes of the clicks are background, the others are ignored;
            None where every lesion is annotated, so that all voxels outside the boxes are background.
        evidence_weight: How far what another model says is believed, 0 to 1, see
            :func:`nnunetv2_simple.pseudo_mask.robust_recipe.robust_walk`.
        jitter_mm: Standard deviation by which clicks simulated from dense masks are off.
        jitter_seed: Its seed.
        dense_dataset_folder: Where to write the fully supervised twin; every training case then needs a mask.
        preprocessed_folder: nnUNet_preprocessed, where nnU-Net looks for the split of the training cases; needed
            where a case ``is_validation``.

    Raises:
        ValueError: If one of them is out of its range.
    """

    dataset_folder: Path
    channel_names: Sequence[str]
    labels: Mapping[str, int] = field(default_factory=lambda: {DEFAULT_CLASS: 1})
    walker_image: WalkerImage = WalkerImage()
    recipe: str = DEFAULT_RECIPE
    beta: float | None = None
    subtraction_channel: bool = False
    unannotated_margin_mm: float | None = None
    evidence_weight: float = 1.0
    jitter_mm: float = 0.0
    jitter_seed: int = 0
    dense_dataset_folder: Path | None = None
    preprocessed_folder: Path | None = None

    def __post_init__(self):
        for name in ("dataset_folder", "dense_dataset_folder", "preprocessed_folder"):
            if getattr(self, name) is not None:
                check_is_utf8(getattr(self, name))
                object.__setattr__(self, name, Path(os.path.abspath(getattr(self, name))))
        check_labels(self.labels)
        self.walker_image.check_channels(self.channel_names)
        if self.subtraction_channel and self.walker_image.subtract is None:
            raise ValueError("a subtraction channel needs a channel to subtract (-walker_subtract), got none")
        if self.unannotated_margin_mm is not None and not 0 < self.unannotated_margin_mm < np.inf:
            raise ValueError(f"the margin in mm must be positive and finite, got {self.unannotated_margin_mm}")
        if not 0 <= self.evidence_weight <= 1:
            raise ValueError(f"the weight of the evidence must lie in 0 to 1, got {self.evidence_weight}")
        if self.recipe == "robust" and self.beta is not None:
            raise ValueError(f"beta is an option of the recipe 'paper' only, got {self.beta}")
        if self.beta is not None and not 0 < self.beta < np.inf:
            raise ValueError(f"beta must be positive and finite, got {self.beta}")
        if not (0 <= self.jitter_mm < np.inf and self.jitter_seed >= 0):
            raise ValueError(
                f"jitter and its seed must be at least 0 and finite, got {self.jitter_mm} and {self.jitter_seed}"
            )

    @property
    def ignore_label(self) -> int:
        return len(self.labels) + 1

    @property
    def written_channels(self) -> list[str]:
        """The channels of the dataset: those of the input, and the difference of two of them where it is wanted."""
        names, seen = list(self.channel_names), self.walker_image
        return [*names, f"{names[seen.channel]}-{names[seen.subtract]}"] if self.subtraction_channel else names

    @property
    def folders(self) -> list[Path]:
        return [self.dataset_folder] + ([self.dense_dataset_folder] if self.dense_dataset_folder else [])

    def walker_options(self) -> dict:
        """Return the options of the recipe."""
        return {"beta": PAPER_DEFAULTS["beta"] if self.beta is None else self.beta} if self.recipe == "paper" else {}

    def parameters(self) -> dict:
        """Return, as JSON has it, everything here that decides what is written of a case."""
        return {
            "nnunetv2_simple": __version__,
            "recipe": self.recipe,
            **self.walker_options(),
            "channel_names": self.written_channels,
            "labels": dict(self.labels),
            "ignore_label": self.ignore_label,
            "walker_channel": self.walker_image.channel,
            "walker_subtracts_channel": self.walker_image.subtract,
            "subtraction_channel": self.subtraction_channel,
            "unannotated_margin_mm": self.unannotated_margin_mm,
            "evidence_weight": self.evidence_weight,
            "jitter_mm": self.jitter_mm,
            "jitter_seed": self.jitter_seed if self.jitter_mm else None,
            "twin": self.dense_dataset_folder.name if self.dense_dataset_folder else None,
        }
