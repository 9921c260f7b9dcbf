"""Draw the pictures of the annotation and of the quality page: docs/six_points.png, docs/quality_control.png."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nnunetv2_simple.demo.phantom import generate_phantom
from nnunetv2_simple.evaluation.quality import LabelledCase, measure_case
from nnunetv2_simple.extreme_points import extreme_points_from_mask
from nnunetv2_simple.extreme_points.lesions import Lesion
from nnunetv2_simple.pseudo_mask import draw_scribbles, generate_pseudo_mask
from nnunetv2_simple.report import colours
from nnunetv2_simple.report.pictures import intensity_window, save_png
from nnunetv2_simple.report.quality_sheet import draw_sheet

DOCS = Path(__file__).parents[1] / "docs"
SPACING_MM = (2.0, 1.2, 1.2)
NAMES = ("inferior", "superior", "anterior", "posterior", "right", "left")


def draw_six_points(image: np.ndarray, points: np.ndarray, file: Path) -> None:
    """Draw the slices through the six points, each with the point that lies on it."""
    figure = Figure(figsize=(12, 2.75), dpi=90)
    figure.set_layout_engine("constrained")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.ceil(14 / np.array(SPACING_MM)).astype(int)
    block = [slice(max(a - m, 0), b + m + 1) for a, b, m in zip(low, high, margin, strict=True)]
    window = intensity_window(image[tuple(block)])
    for place, (axes, point, name) in enumerate(zip(figure.subplots(1, 6), points, NAMES, strict=True)):
        across = 1 if place < 2 else 0  # a slice on which the point is seen from the side
        rows, columns = (axis for axis in range(3) if axis != across)
        plane = tuple(point[axis] if axis == across else block[axis] for axis in range(3))
        (top, bottom), (left, right) = ((block[a].start - 0.5, block[a].stop - 0.5) for a in (rows, columns))
        extent = (left, right, top, bottom) if rows == 0 else (left, right, bottom, top)
        options = {"origin": "lower" if rows == 0 else "upper", "aspect": SPACING_MM[rows] / SPACING_MM[columns]}
        options |= {"cmap": "gray", "vmin": window[0], "vmax": window[1], "interpolation": "bicubic"}
        axes.imshow(image[plane], extent=extent, **options)
        axes.plot(point[columns], point[rows], "o", ms=9, mfc=colours.POINT, mec="white", mew=1.5)
        axes.set_title(f"{place + 1}. {name}", fontsize=12)
        axes.set_xlabel(f"{('axial', 'coronal')[across]} slice, {'zyx'[across]} = {point[across]}", fontsize=9)
        axes.set(xticks=[], yticks=[])
    save_png(figure, file)


def main() -> None:
    phantom = generate_phantom(
        np.random.default_rng(8), shape=(40, 90, 90), spacing_mm=SPACING_MM, tumor_kind="rim", tumor_shape="irregular"
    )
    simple = generate_phantom(
        np.random.default_rng(3), shape=(40, 90, 90), spacing_mm=SPACING_MM, tumor_kind="homogeneous"
    )
    draw_six_points(simple.post_contrast, extreme_points_from_mask(simple.tumor), DOCS / "six_points.png")
    image, points = phantom.post_contrast.astype(float), extreme_points_from_mask(phantom.tumor)
    options = {"spacing_mm": SPACING_MM, "recipe": "robust"}
    case = LabelledCase(
        image=image,
        label=generate_pseudo_mask(image, points, **options),
        scribbles=draw_scribbles(image, points, **options),
        lesions=[Lesion(points, 1)],
        spacing_mm=SPACING_MM,
        ignore_label=2,
        reference=phantom.tumor,
    )
    draw_sheet(DOCS / "quality_control.png", case, measure_case(case), title="breast_001")


if __name__ == "__main__":
    main()
