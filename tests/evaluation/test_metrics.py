"""Scores against hand-computed values and a brute-force search over all pairs of surface elements."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from skimage.measure import marching_cubes, mesh_surface_area

from nnunetv2_simple.evaluation.metrics import detect_lesions, dice, score_case, score_mask

SPACING_MM = (3.0, 1.5, 0.7)


def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def surface_elements(mask: np.ndarray, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Return position in mm and area in mm2 of the surface in every block of 2 x 2 x 2 voxels, one after the other."""
    padded, positions, areas = np.pad(mask, 1).astype(float), [], []
    for corner in itertools.product(*(range(size - 1) for size in padded.shape)):
        block = padded[tuple(slice(c, c + 2) for c in corner)]
        if 0 < block.sum() < 8:
            vertices, faces, _, _ = marching_cubes(block, 0.5, spacing=spacing_mm)
            positions.append(np.multiply(corner, spacing_mm))
            areas.append(mesh_surface_area(vertices, faces))
    return np.array(positions), np.array(areas)


def brute_force(prediction: np.ndarray, reference: np.ndarray, spacing_mm, tolerance_mm) -> dict[str, float]:
    (a, areas_a), (b, areas_b) = (surface_elements(mask, spacing_mm) for mask in (prediction, reference))
    distances = np.array([[np.sqrt(((p - q) ** 2).sum()) for q in b] for p in a])
    directed = [(distances.min(axis=1), areas_a), (distances.min(axis=0), areas_b)]
    total = areas_a.sum() + areas_b.sum()
    percentiles = []
    for d, areas in directed:
        order = np.argsort(d)
        percentiles.append(d[order][np.cumsum(areas[order]) >= 0.95 * areas.sum()][0])
    return {
        "hd95_mm": max(percentiles),
        "assd_mm": sum((d * areas).sum() for d, areas in directed) / total,
        "nsd": sum(areas[d <= tolerance_mm].sum() for d, areas in directed) / total,
    }


def ellipsoid(shape, centre, radii) -> np.ndarray:
    grid = np.indices(shape)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


@pytest.mark.parametrize("tolerance_mm", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_surface_scores_are_those_of_a_brute_force_search(seed, tolerance_mm):
    generator = np.random.default_rng(seed)
    shape = (7, 9, 11)  # the larger ones leave the image, whose border then is their surface
    masks = [ellipsoid(shape, generator.uniform(2, 7, 3), generator.uniform(1.5, 5, 3)) for _ in range(2)]
    scores = score_mask(*masks, spacing_mm=SPACING_MM, tolerance_mm=tolerance_mm)
    for measure, value in brute_force(*masks, SPACING_MM, tolerance_mm).items():
        assert scores[measure] == pytest.approx(value, rel=1e-6), measure


def test_surface_elements_count_by_their_area():
    """A cube of 4 voxels shifted by one slice of 3 mm: by voxels the ASSD would be 0.93 mm."""
    reference = box((7, 6, 6), (1, 5), (1, 5), (1, 5))
    prediction = box((7, 6, 6), (2, 6), (1, 5), (1, 5))
    scores = score_mask(prediction, reference, spacing_mm=(3.0, 1.0, 1.0))
    assert scores["assd_mm"] == pytest.approx(0.52, abs=0.005)
    assert scores["hd95_mm"] == 3
    assert scores["nsd"] == pytest.approx(1 - 0.52 / 3, abs=0.03)  # few elements lie between 0 and 3 mm
    assert score_mask(prediction, reference, spacing_mm=(3.0, 1.0, 1.0), tolerance_mm=3)["nsd"] == 1


def test_overlap_and_volumes_of_two_shifted_boxes_by_hand():
    prediction = box((4, 5, 9), (1, 2), (1, 3), (2, 6))
    reference = box((4, 5, 9), (1, 2), (1, 3), (3, 7))
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    assert scores["dice"] == dice(prediction, reference) == pytest.approx(2 * 6 / (8 + 8))
    assert scores["jaccard"] == pytest.approx(6 / 10)
    assert scores["hd95_mm"] == pytest.approx(0.7)  # one voxel along x
    assert scores["volume_ml"] == pytest.approx(8 * 3.0 * 1.5 * 0.7 / 1000)
    assert scores["reference_volume_ml"] == pytest.approx(8 * 3.0 * 1.5 * 0.7 / 1000)


def test_the_hd95_is_the_larger_of_the_two_directed_percentiles():
    """A voxel against itself and another one two slices away: from the prediction 0, from the reference 3 and 6 mm."""
    prediction = box((5, 3, 3), (0, 1), (1, 2), (1, 2))
    reference = prediction | box((5, 3, 3), (2, 3), (1, 2), (1, 2))
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    assert scores["hd95_mm"] == pytest.approx(6)
    swapped = score_mask(reference, prediction, spacing_mm=SPACING_MM)
    for measure in ("dice", "jaccard", "hd95_mm", "assd_mm", "nsd"):
        assert swapped[measure] == pytest.approx(scores[measure])
    assert (swapped["volume_ml"], swapped["reference_volume_ml"]) == (
        scores["reference_volume_ml"],
        scores["volume_ml"],
    )


def test_two_empty_masks_agree():
    empty = np.zeros((3, 4, 5), bool)
    scores = score_mask(empty, empty, spacing_mm=SPACING_MM)
    assert [scores[m] for m in ("dice", "jaccard", "nsd", "hd95_mm", "assd_mm")] == [1, 1, 1, 0, 0]
    assert (scores["volume_ml"], scores["reference_volume_ml"]) == (0, 0)


@pytest.mark.parametrize("is_prediction_empty", [True, False])
def test_one_empty_mask_costs_the_diagonal_of_the_image(is_prediction_empty):
    masks = [np.zeros((4, 5, 6), bool), box((4, 5, 6), (1, 2), (1, 2), (1, 2))]
    scores = score_mask(*(masks if is_prediction_empty else masks[::-1]), spacing_mm=(1.0, 2.0, 0.5))
    diagonal_mm = (4**2 + 10**2 + 3**2) ** 0.5
    assert (scores["dice"], scores["jaccard"], scores["nsd"]) == (0, 0, 0)
    assert scores["hd95_mm"] == pytest.approx(diagonal_mm)
    assert scores["assd_mm"] == pytest.approx(diagonal_mm)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape.*\(3, 3, 3\) and \(3, 3, 4\)"):
        score_mask(np.ones((3, 3, 3), bool), np.ones((3, 3, 4), bool), spacing_mm=SPACING_MM)


def write(file, array: np.ndarray, *, origin=(1.0, 2.0, 3.0), spacing_mm=SPACING_MM):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(file))
    return file


def test_a_case_is_the_mean_over_its_labels(tmp_path):
    """Label 1 is met exactly, label 3 is missed altogether, label 2 belongs to somebody else."""
    reference = np.zeros((4, 5, 6), int)
    reference[1, 1, 1:3], reference[2, 2, 2] = 1, 3
    prediction = np.where(reference == 3, 2, reference)
    files = write(tmp_path / "p.nii.gz", prediction), write(tmp_path / "r.nii.gz", reference)
    scores = score_case(*files, {"core": 1, "rim": 3})
    voxel_ml = 3.0 * 1.5 * 0.7 / 1000
    diagonal_mm = ((4 * 3.0) ** 2 + (5 * 1.5) ** 2 + (6 * 0.7) ** 2) ** 0.5
    assert scores["per_label"]["core"]["dice"] == 1
    assert scores["per_label"]["rim"]["dice"] == 0
    assert scores["dice"] == 0.5
    assert scores["hd95_mm"] == pytest.approx(diagonal_mm / 2, rel=1e-6)
    assert scores["volume_ml"] == pytest.approx(2 * voxel_ml / 2, rel=1e-6)
    assert scores["reference_volume_ml"] == pytest.approx((2 + 1) * voxel_ml / 2, rel=1e-6)


@pytest.mark.parametrize(("foreground", "found"), [(255, r"\[255\]"), (2, r"\[2\]")])
def test_references_of_other_labels_are_refused(tmp_path, foreground, found):
    mask = np.zeros((3, 4, 5))
    mask[1, 1, 1:3] = 1
    files = write(tmp_path / "prediction.nii.gz", mask), write(tmp_path / "reference.nii.gz", foreground * mask)
    with pytest.raises(ValueError, match=rf"reference\.nii\.gz holds the labels {found}, expected 0 and .*tumor.*1"):
        score_case(*files, {"tumor": 1})


@pytest.mark.parametrize(
    ("what", "other"),
    [("origin", {"origin": (1.0, 2.0, 4.0)}), ("spacing", {"spacing_mm": (3.0, 1.5, 0.8)})],
)
def test_another_geometry_is_refused_naming_both_files(tmp_path, what, other):
    mask = np.ones((3, 4, 5))
    files = write(tmp_path / "prediction.nii.gz", mask), write(tmp_path / "reference.nii.gz", mask, **other)
    with pytest.raises(ValueError, match=rf"{what} differs.*prediction\.nii\.gz.*reference\.nii\.gz"):
        score_case(*files, {"tumor": 1})


def test_another_size_is_refused(tmp_path):
    files = [write(tmp_path / f"{i}.nii.gz", np.ones((3, 4, size))) for i, size in enumerate((5, 6))]
    with pytest.raises(ValueError, match="size differs"):
        score_case(*files, {"tumor": 1})


def test_scores_do_not_depend_on_the_order_of_the_axes():
    generator = np.random.default_rng(5)
    prediction, reference = generator.random((2, 4, 6, 5)) < 0.4
    expected = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    for axes in itertools.permutations(range(3)):
        scores = score_mask(
            prediction.transpose(axes), reference.transpose(axes), spacing_mm=[SPACING_MM[axis] for axis in axes]
        )
        assert scores == pytest.approx(expected)


def test_lesions_are_found_from_a_jaccard_index_of_a_tenth_on():
    reference, prediction = np.zeros((2, 30, 8), bool)
    reference[:10, 0], reference[20:30, 0] = True, True  # two lesions of ten voxels
    prediction[0, 0] = True  # 1 of 10
    prediction[20:22, 0:2] = True  # 2 of 12
    prediction[25, 6:8] = True  # touches none
    assert detect_lesions(prediction, reference) == {"num_lesions": 2, "num_found": 2, "num_false_positives": 1}
    prediction[0, 1] = True  # 1 of 11
    assert detect_lesions(prediction, reference)["num_found"] == 1


def test_a_part_over_two_lesions_counts_for_both_and_corners_connect():
    reference, prediction = np.zeros((2, 6, 6, 6), bool)
    reference[0, 0, 0] = reference[1, 1, 1] = reference[5, 5, 5] = True
    prediction[2:4, 2:4, 2:4] = True
    assert detect_lesions(prediction, reference) == {"num_lesions": 2, "num_found": 0, "num_false_positives": 1}
    assert detect_lesions(np.ones_like(prediction), reference)["num_found"] == 0
    assert detect_lesions(reference, reference) == {"num_lesions": 2, "num_found": 2, "num_false_positives": 0}


@pytest.mark.parametrize(("predicted", "expected"), [(0, (0, 0, 0)), (1, (0, 0, 1))])
def test_without_lesions_there_is_nothing_to_find(predicted, expected):
    mask = np.zeros((3, 3, 3), bool)
    assert tuple(detect_lesions(mask | bool(predicted), mask).values()) == expected


def test_the_largest_part_is_scored_alone():
    reference, prediction = np.zeros((2, 8, 8, 8), bool)
    reference[:4, :4, :4] = prediction[:4, :4, :4] = True
    prediction[6:, 6:, 6:] = True
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    assert scores["dice_largest_part"] == 1
    assert scores["dice"] == pytest.approx(2 * 64 / (64 + 72))
