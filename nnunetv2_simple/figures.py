"""Pictures of segmentations on their images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk  # noqa: N813 (its documented abbreviation)

from nnunetv2_simple.images import spacing_zyx_mm

MARGIN_MM = 15
FOREGROUND_COLOUR, REFERENCE_COLOUR, UNLABELLED_COLOUR = "#ffb000", "#33dd88", "#66aaff"


def draw_stages(
    cases: Sequence[str],
    *,
    image_folder: Path,
    channel: int,
    stages: Mapping[str, Path],
    output_file: Path,
    file_ending: str = ".nii.gz",
) -> None:
    """Draw, one row per case, the contours of each stage on the slice where the last stage is largest.

    The last stage is the reference; its contour is dashed in every panel. Where a stage holds unlabelled voxels
    (label 2) their outline is drawn as well.

    Args:
        cases: Case identifiers.
        image_folder: Holds ``<case>_<channel>``.
        channel: The channel to show.
        stages: Folder of each stage by its title; the last one is the reference.
        output_file: The PNG to write.
        file_ending: Of images and labels.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 3.
    """
    figure, axes = plt.subplots(
        len(cases), len(stages), figsize=(3.2 * len(stages), 3.2 * len(cases)), squeeze=False, layout="constrained"
    )
    for row, case in zip(axes, cases, strict=True):
        image = sitk.ReadImage(str(image_folder / f"{case}_{channel:04d}{file_ending}"))
        labels = {
            title: sitk.GetArrayFromImage(sitk.ReadImage(str(folder / (case + file_ending))))
            for title, folder in stages.items()
        }
        reference = list(labels.values())[-1] == 1
        slice_index = int(reference.sum(axis=(1, 2)).argmax())
        window = _window(reference[slice_index], spacing_zyx_mm(image))
        pixels = sitk.GetArrayFromImage(image)[slice_index][window]
        _, pixel_height_mm, pixel_width_mm = spacing_zyx_mm(image)
        for axis, (title, label) in zip(row, labels.items(), strict=True):
            label = label[slice_index][window]
            axis.imshow(pixels, cmap="gray", aspect=pixel_height_mm / pixel_width_mm)
            _contour(axis, label == 2, UNLABELLED_COLOUR, "-")
            _contour(axis, label == 1, FOREGROUND_COLOUR, "-")
            _contour(axis, reference[slice_index][window], REFERENCE_COLOUR, "--")
            axis.set_xticks([])
            axis.set_yticks([])
            if axis in axes[0]:
                axis.set_title(title)
        row[0].set_ylabel(f"{case}, slice {slice_index}")
    figure.legend(
        handles=[
            plt.Line2D([], [], color=FOREGROUND_COLOUR, label="foreground"),
            plt.Line2D([], [], color=UNLABELLED_COLOUR, label="unlabelled"),
            plt.Line2D([], [], color=REFERENCE_COLOUR, ls="--", label="reference"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    figure.savefig(output_file, dpi=110)
    plt.close(figure)


def _window(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, slice]:
    rows, columns = np.nonzero(mask)
    margins = [round(MARGIN_MM / spacing) for spacing in spacing_mm[1:]]
    return tuple(
        slice(max(int(where.min()) - margin, 0), int(where.max()) + margin + 1)
        for where, margin in zip((rows, columns), margins, strict=True)
    )


def _contour(axis: plt.Axes, mask: np.ndarray, colour: str, style: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.4)
