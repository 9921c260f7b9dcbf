"""Scores against hand-computed values and a brute-force search over all pairs of surface voxels."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.evaluation.metrics import score_case, score_mask

SPACING_MM = (3.0, 1.5, 0.7)


def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def surface_points_mm(mask: np.ndarray, spacing_mm) -> np.ndarray:
    """Voxel by voxel, neighbour by neighbour."""
    points = []
    for voxel in np.argwhere(mask):
        neighbours = [voxel + step * np.eye(3, dtype=int)[axis] for axis in range(3) for step in (-1, 1)]
        inside = [(n >= 0).all() and (n < mask.shape).all() and mask[tuple(n)] for n in neighbours]
        if not all(inside):
            points.append(voxel * np.asarray(spacing_mm))
    return np.array(points)


def brute_force(prediction: np.ndarray, reference: np.ndarray, spacing_mm) -> tuple[float, float]:
    a, b = surface_points_mm(prediction, spacing_mm), surface_points_mm(reference, spacing_mm)
    distances = np.array([[np.sqrt(((p - q) ** 2).sum()) for q in b] for p in a])
    forward, backward = distances.min(axis=1), distances.min(axis=0)
    hd95 = max(np.percentile(forward, 95), np.percentile(backward, 95))
    return hd95, (forward.sum() + backward.sum()) / (len(forward) + len(backward))


@pytest.mark.parametrize("seed", range(8))
def test_distances_are_those_of_a_brute_force_search(seed):
    generator = np.random.default_rng(seed)
    shape = (5, 7, 9)
    density = (0.05, 0.3, 0.8)[seed % 3]  # scattered voxels, and masks that touch the border everywhere
    prediction, reference = generator.random(shape) < density, generator.random(shape) < 0.5
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    hd95, assd = brute_force(prediction, reference, SPACING_MM)
    assert scores["hd95_mm"] == pytest.approx(hd95, rel=1e-9)
    assert scores["assd_mm"] == pytest.approx(assd, rel=1e-9)


def test_scores_of_two_shifted_boxes_by_hand():
    """Two plates of 1 x 2 x 4 voxels, one a voxel further along x: all voxels are surface.

    Of each plate the last column of two voxels has no partner; it is one voxel, 0.7 mm, away from the other plate.
    """
    prediction = box((4, 5, 9), (1, 2), (1, 3), (2, 6))
    reference = box((4, 5, 9), (1, 2), (1, 3), (3, 7))
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    assert scores["dice"] == pytest.approx(2 * 6 / (8 + 8))
    assert scores["jaccard"] == pytest.approx(6 / 10)
    assert scores["assd_mm"] == pytest.approx((2 * 0.7 + 2 * 0.7) / 16)
    assert scores["hd95_mm"] == pytest.approx(0.7)  # of 8 sorted distances the 95th percentile lies among the last two
    assert scores["volume_ml"] == pytest.approx(8 * 3.0 * 1.5 * 0.7 / 1000)
    assert scores["reference_volume_ml"] == pytest.approx(8 * 3.0 * 1.5 * 0.7 / 1000)


def test_the_hd95_is_the_larger_of_the_two_directed_percentiles():
    """One voxel against itself and a voxel two slices away: from the prediction 0, from the reference 0 and 6 mm."""
    prediction = box((5, 3, 3), (0, 1), (1, 2), (1, 2))
    reference = prediction | box((5, 3, 3), (2, 3), (1, 2), (1, 2))
    scores = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    assert scores["hd95_mm"] == pytest.approx(0.95 * 6)  # linear between the two distances 0 and 6
    assert scores["assd_mm"] == pytest.approx(6 / 3)
    swapped = score_mask(reference, prediction, spacing_mm=SPACING_MM)
    assert swapped["hd95_mm"] == pytest.approx(scores["hd95_mm"])


def test_inner_voxels_are_no_surface():
    """A 3 x 3 x 3 box with and without its centre: the centre is a surface only where it is a hole's neighbour."""
    full = box((5, 5, 5), (1, 4), (1, 4), (1, 4))
    hollow = full.copy()
    hollow[2, 2, 2] = False
    scores = score_mask(full, hollow, spacing_mm=SPACING_MM)
    assert (scores["hd95_mm"], scores["assd_mm"]) == (0, 0)
    assert scores["dice"] == pytest.approx(2 * 26 / (26 + 27))


def test_two_empty_masks_agree():
    empty = np.zeros((3, 4, 5), bool)
    scores = score_mask(empty, empty, spacing_mm=SPACING_MM)
    assert (scores["dice"], scores["jaccard"], scores["hd95_mm"], scores["assd_mm"]) == (1, 1, 0, 0)
    assert (scores["volume_ml"], scores["reference_volume_ml"]) == (0, 0)


@pytest.mark.parametrize("is_prediction_empty", [True, False])
def test_one_empty_mask_costs_the_diagonal_of_the_image(is_prediction_empty):
    masks = [np.zeros((4, 5, 6), bool), box((4, 5, 6), (1, 2), (1, 2), (1, 2))]
    scores = score_mask(*(masks if is_prediction_empty else masks[::-1]), spacing_mm=(1.0, 2.0, 0.5))
    diagonal_mm = (4**2 + 10**2 + 3**2) ** 0.5
    assert (scores["dice"], scores["jaccard"]) == (0, 0)
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
    with pytest.raises(ValueError, match=rf"reference\.nii\.gz holds the labels {found}, expected 0 and .*tumour.*1"):
        score_case(*files, {"tumour": 1})


@pytest.mark.parametrize(
    ("what", "other"),
    [("origin", {"origin": (1.0, 2.0, 4.0)}), ("spacing", {"spacing_mm": (3.0, 1.5, 0.8)})],
)
def test_another_geometry_is_refused_naming_both_files(tmp_path, what, other):
    mask = np.ones((3, 4, 5))
    files = write(tmp_path / "prediction.nii.gz", mask), write(tmp_path / "reference.nii.gz", mask, **other)
    with pytest.raises(ValueError, match=rf"{what} differs.*prediction\.nii\.gz.*reference\.nii\.gz"):
        score_case(*files, {"tumour": 1})


def test_another_size_is_refused(tmp_path):
    files = [write(tmp_path / f"{i}.nii.gz", np.ones((3, 4, size))) for i, size in enumerate((5, 6))]
    with pytest.raises(ValueError, match="size differs"):
        score_case(*files, {"tumour": 1})


def test_scores_do_not_depend_on_the_order_of_the_axes():
    generator = np.random.default_rng(5)
    prediction, reference = generator.random((2, 4, 6, 5)) < 0.4
    expected = score_mask(prediction, reference, spacing_mm=SPACING_MM)
    for axes in itertools.permutations(range(3)):
        scores = score_mask(
            prediction.transpose(axes), reference.transpose(axes), spacing_mm=[SPACING_MM[axis] for axis in axes]
        )
        assert scores == pytest.approx(expected)
