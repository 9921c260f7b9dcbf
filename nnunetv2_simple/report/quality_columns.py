"""The columns of the quality control page."""

from collections.abc import Callable
from dataclasses import dataclass

from nnunetv2_simple.evaluation.quality import SHELL_MM
from nnunetv2_simple.evaluation.quality_warnings import ELLIPSOID_FRACTION


@dataclass(frozen=True)
class Column:
    """One measure of the table.

    Attributes:
        key: Of what ``measure_case`` returned; of its ``evaluation_only`` part if ``is_evaluation``.
        title: Head of the column.
        explanation: What it means, for people.
        show: Turns the measure into text.
        value: Turns the measure into the number by which the table is sorted.
        summary: What its median over the cases is called on top of the page; not shown there if empty.
        is_evaluation: Whether it comes from dense references.
    """

    key: str
    title: str
    explanation: str
    show: Callable[[object], str]
    value: Callable[[object], float] = float
    summary: str = ""
    is_evaluation: bool = False


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


COLUMNS = (
    Column("num_lesions", "Lesions", "number of annotated lesions", str),
    Column(
        "sources",
        "Marked by",
        "what the lesions were marked by: extreme points; a bounding box, the centres of whose faces stand in for "
        "them; or points simulated from a dense mask",
        ", ".join,
        lambda sources: float(sources != ["extreme points"]),
    ),
    Column(
        "foreground_ml",
        "Foreground, ml",
        "volume of the foreground of all labels",
        "{:.3g}".format,
        summary="median foreground, ml",
    ),
    Column(
        "box_size_mm",
        "Largest box, mm",
        "size of the largest box spanned by six extreme points (z × y × x); sorted by its volume",
        lambda size: " × ".join(f"{mm:.0f}" for mm in size),
        lambda size: size[0] * size[1] * size[2],
    ),
    Column(
        "foreground_fraction",
        "Foreground of box",
        f"share of the voxels of the boxes that are foreground; an ellipsoid fills {_percent(ELLIPSOID_FRACTION)}",
        _percent,
        summary="median foreground of box",
    ),
    Column(
        "unlabelled_fraction",
        "Unlabelled of box",
        "share of the voxels of the boxes that are left to the training",
        _percent,
        summary="median unlabelled of box",
    ),
    Column(
        "background_fraction", "Background of box", "share of the voxels of the boxes that are background", _percent
    ),
    Column(
        "core_fraction",
        "Foreground of core",
        "share of the core of the box (an ellipsoid of half its size) that is foreground; worst lesion",
        _percent,
    ),
    Column(
        "reached_points",
        "Points reached",
        "at how many of the six extreme points foreground lies within one voxel; worst lesion",
        lambda count: f"{count} of 6",
    ),
    Column("num_components", "Parts", "connected components of the foreground of a lesion; worst lesion", str),
    Column(
        "contrast",
        "Contrast",
        f"difference of the mean intensities of foreground and of the background up to {SHELL_MM:g} mm around the box, "
        "over the root mean square of their standard deviations; worst lesion; sorted by its magnitude",
        "{:.2f}".format,
        abs,
        summary="median contrast (magnitude)",
    ),
    Column(
        "precision",
        "Precision",
        "share of the foreground that is foreground in the reference, mean over labels",
        "{:.3f}".format,
        summary="median precision",
        is_evaluation=True,
    ),
    Column(
        "recall",
        "Recall",
        "share of the foreground of the reference that is foreground, mean over labels",
        "{:.3f}".format,
        summary="median recall",
        is_evaluation=True,
    ),
    Column(
        "dice",
        "Dice",
        "Dice coefficient of foreground and reference, mean over labels; unlabelled voxels count as not foreground",
        "{:.3f}".format,
        summary="median Dice",
        is_evaluation=True,
    ),
    Column(
        "scribbles_inside_reference",
        "Scribbles inside",
        "share of the scribble voxels inside the reference",
        _percent,
        is_evaluation=True,
    ),
)
