"""nnUNetv2_simple_preview: one page of predictions of new cases, for which there is no reference."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_simple.arguments import add_num_processes, add_option, command_parser, existing_folder
from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.image_folders import channel_files, predicted_labels, prediction_files
from nnunetv2_simple.images import label_array, read_volume, spacing_zyx_mm
from nnunetv2_simple.parallel import open_workers
from nnunetv2_simple.report.pictures import (
    field_of_view,
    intensity_window,
    label_outlines,
    largest_slice,
    slice_picture,
)
from nnunetv2_simple.report.rendering import write_page

UNUSUAL = 5.0  # times more or less than the median volume


def write_preview(
    images: Path, predictions: Path, output_file: Path, *, channel: int = 0, num_processes: int = 1
) -> dict[str, str]:
    """Write one HTML page with a picture, the volumes and what is odd about every prediction.

    Args:
        images: Holds ``<case>_0000.nii.gz``, ...
        predictions: What nnUNetv2_predict wrote; the labels' names are read from its dataset.json, if it is there.
        output_file: The page; it needs nothing else.
        channel: Which channel to show.
        num_processes: Cases at the same time.

    Returns:
        The reason of every prediction that cannot be shown.

    Raises:
        ValueError: If there is no prediction, or the images are not named as nnU-Net names them.
    """
    files = prediction_files(predictions)
    channels = {case: dict(found) for case, found in channel_files(images).items()}
    tasks = {case: (str(file), channels.get(case, {}).get(f"{channel:04d}")) for case, file in files.items()}
    show = partial(_try_to_show, tasks=tasks, channel=channel, images=images, names=predicted_labels(predictions))
    with open_workers(num_processes=num_processes) as run:
        found = dict(run(show, list(tasks)))
    shown = {case: content for case, content in found.items() if not isinstance(content, str)}
    failed = {case: content for case, content in sorted(found.items()) if isinstance(content, str)}
    _note_unusual_volumes(shown)
    ordered = sorted(shown, key=lambda case: (-len(shown[case]["oddities"]), case))
    write_page(
        output_file,
        "preview.html",
        title=f"Predictions: {predictions.resolve().name}",
        cases=[(case, shown[case]) for case in ordered],
        failed=failed,
        legend=list({name: colour for case in ordered for name, colour in shown[case]["legend"]}.items()),
    )
    return failed


def _try_to_show(case: str, *, tasks: Mapping, channel: int, images: Path, names: Mapping[str, int]) -> dict | str:
    prediction_file, image_file = tasks[case]
    try:
        if image_file is None:
            raise ValueError(f"there is no image {case}_{channel:04d} of it in {images}")
        image, prediction = read_volume(image_file), read_volume(prediction_file)
        check_same_geometry(image, prediction, names=(image_file, prediction_file))
        labels = label_array(prediction, prediction_file)
        return _show(sitk.GetArrayViewFromImage(image), labels, spacing_zyx_mm(image), names)
    except ValueError as error:
        return str(error)


def _show(image: np.ndarray, labels: np.ndarray, spacing_mm: Sequence[float], names: Mapping[str, int]) -> dict:
    """Return picture, volumes and oddities of one prediction (z, y, x)."""
    known = set(names.values())
    names = dict(names) | {f"label {value}": int(value) for value in np.unique(labels) if value and value not in known}
    across, index = largest_slice([labels != 0], spacing_mm)
    plane = tuple(index if axis == across else slice(None) for axis in range(3))
    pixel_mm = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
    block = field_of_view(labels[plane] != 0, pixel_mm)
    outlines = label_outlines(labels[plane][block], names)[1:] if names else []  # none is unlabelled
    pixels = image[plane][block]
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return {
        "picture": slice_picture(pixels, outlines, spacing_mm=pixel_mm, window=intensity_window(pixels)),
        "slice": f"{'zyx'[across]} = {index}",
        "volumes_ml": {name: np.count_nonzero(labels == value) * voxel_ml for name, value in names.items()},
        "is_empty": not labels.any(),
        "oddities": _oddities(labels, names),
        "legend": [(outline.name, outline.colour) for outline in outlines],
    }


def _oddities(labels: np.ndarray, names: Mapping[str, int]) -> list[str]:
    if not labels.any():
        return ["nothing is predicted"]
    found = []
    for name, value in names.items():
        parts = np.bincount(ndimage.label(labels == value, np.ones((3, 3, 3)))[0].ravel())[1:]
        if len(parts) > 1:
            found.append(f"{name} has {len(parts)} parts, the largest holds {parts.max() / parts.sum():.0%}")
    inner = labels[1:-1, 1:-1, 1:-1]
    if np.count_nonzero(inner) < np.count_nonzero(labels):
        found.append("it reaches the edge of the image")
    return found


def _note_unusual_volumes(shown: Mapping[str, dict]) -> None:
    for name in {name for content in shown.values() for name in content["volumes_ml"]}:
        volumes = {case: content["volumes_ml"].get(name, 0) for case, content in shown.items()}
        usual = median(volume for volume in volumes.values() if volume) if any(volumes.values()) else 0
        for case, volume in volumes.items():
            if volume and not usual / UNUSUAL <= volume <= usual * UNUSUAL:
                shown[case]["oddities"].append(f"{name}: {volume:.2g} ml, the median of all cases is {usual:.2g} ml")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "Write one page with a picture, the volumes and what is odd about every prediction of new cases, which have no "
        "references. The oddest come first.",
        "nnUNetv2_predict -d 501 -i IMAGES -o PREDICTIONS -c 3d_fullres -f 0 -tr SimPLeTrainer",
        "nnUNetv2_simple_preview -i IMAGES -p PREDICTIONS",
        "# the second channel",
        "nnUNetv2_simple_preview -i IMAGES -p PREDICTIONS -o preview.html -channel 1",
    )
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder of images: <case>_0000.nii.gz, ...")
    parser.add_argument("-p", type=existing_folder, required=True, help="Folder of predictions: <case>.nii.gz")
    add_option(parser, "o", "Page to write. Default: preview.html in the folder of predictions", type=Path)
    add_option(parser, "channel", "Index of the channel to show", type=int, default=0)
    add_num_processes(parser, "Cases at the same time")
    args = parser.parse_args(argv)
    output_file = args.o or args.p / "preview.html"
    try:
        failed = write_preview(args.i, args.p, output_file, channel=args.channel, num_processes=args.np)
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    for case, reason in failed.items():
        print(f"FAILED {case}: {reason}", file=sys.stderr)
    print(f"page: {output_file}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
