"""Distances between surfaces, worked out by hand from blocks and balls."""

import base64
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.report.cases import PicturedCase
from nnunetv2_simple.report.surface import make_surfaces, signed_distance_to
from nnunetv2_simple.report.surface_views import CaseView

SPACING_MM = (4.0, 1.0, 2.0)


def block(shape, *sides):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def distances(mask, reference, spacing_mm=SPACING_MM, **options):
    (surface, other), _ = make_surfaces([mask, reference], spacing_mm=spacing_mm, **options)
    return surface, signed_distance_to(surface, other, reference, spacing_mm)


def test_surface_lies_half_a_voxel_outside_the_voxel_centres():
    mask = block((9, 20, 14), (2, 6), (5, 15), (3, 9))
    (surface,), _ = make_surfaces([mask], spacing_mm=SPACING_MM)
    np.testing.assert_allclose(surface.vertices_mm.min(axis=0), (1.5 * 4, 4.5 * 1, 2.5 * 2), atol=0.05)
    np.testing.assert_allclose(surface.vertices_mm.max(axis=0), (5.5 * 4, 14.5 * 1, 8.5 * 2), atol=0.05)


def test_surface_is_closed_at_the_border_of_the_image():
    mask = np.ones((3, 4, 5), dtype=bool)
    (surface,), _ = make_surfaces([mask], spacing_mm=SPACING_MM)
    edges = np.sort(np.concatenate([surface.faces[:, sides] for sides in ((0, 1), (1, 2), (2, 0))]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts) == {2}


def test_same_mask_is_at_no_distance():
    mask = block((9, 20, 14), (2, 6), (5, 15), (3, 9))
    _, found = distances(mask, mask.copy())
    np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.parametrize(("axis", "voxels"), [(0, 2), (1, 6), (2, 3)])
def test_faces_moved_outwards_and_inwards(axis, voxels):
    sides = [(3, 7), (8, 20), (5, 12)]
    longer = list(sides)
    longer[axis] = (sides[axis][0], sides[axis][1] + voxels)
    mask, reference = (block((12, 30, 20), *found) for found in (longer, sides))
    expected_mm = voxels * SPACING_MM[axis]
    surface, outwards = distances(mask, reference)
    assert outwards.max() == pytest.approx(expected_mm, abs=0.3)
    assert np.quantile(outwards, 0.05) > -0.1  # nowhere inside
    assert outwards.min() > -1  # edges are rounded by less than half a voxel of 4 mm, not all of them alike
    assert outwards[surface.vertices_mm[:, axis].argmax()] > 0.8 * expected_mm
    _, inwards = distances(reference, mask)
    assert np.quantile(inwards, 0.95) < 0.1
    # from the middle of the moved face the sides of the longer block may be nearer
    assert -min(expected_mm, 6.5) <= inwards.min() < -1


def test_ball_around_a_ball():
    z, y, x = np.indices((21, 61, 41))
    radius_mm = np.sqrt(((z - 10) * 3) ** 2 + (y - 30) ** 2 + ((x - 20) * 1.5) ** 2)
    _, found = distances(radius_mm <= 24, radius_mm <= 18, spacing_mm=(3.0, 1.0, 1.5))
    assert np.median(found) == pytest.approx(6, abs=0.5)
    assert 4 < found.min() <= found.max() < 8


def test_size_is_bounded_and_the_shape_kept():
    z, y, x = np.indices((60, 60, 60))
    ball = (z - 30) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 <= 25**2
    (surface,), _ = make_surfaces([ball], spacing_mm=(1, 1, 1), max_vertices=800)
    assert 300 < len(surface.vertices_mm) <= 800
    radii = np.linalg.norm(surface.vertices_mm - 30, axis=1)
    assert abs(radii - 25).max() < 1.5


def test_single_voxel_beside_a_large_mask_is_not_lost():
    large, small = block((40, 40, 40), (2, 38), (2, 30), (2, 38)), block((40, 40, 40), (20, 21), (35, 36), (20, 21))
    (_, surface), step_mm = make_surfaces([large, small], spacing_mm=(1, 1, 1), max_vertices=300)
    np.testing.assert_allclose(surface.vertices_mm.mean(axis=0), (20, 35, 20), atol=step_mm)


def test_large_images_are_taken_more_coarsely(monkeypatch):
    z, y, x = np.indices((40, 60, 80))
    ball = ((z - 20) * 2) ** 2 + (y - 30) ** 2 + (x - 40) ** 2 <= 24**2
    speck = np.zeros_like(ball)
    speck[21, 35, 45] = True
    monkeypatch.setattr("nnunetv2_simple.report.surface.MAX_GRID_VOXELS", 2000)  # 48^3 mm3 / 2000 = 3.8 mm each way
    (of_ball, of_speck), step_mm = make_surfaces([ball, speck], spacing_mm=(2.0, 1.0, 1.0))
    assert step_mm == pytest.approx(3.85, abs=0.1)
    radii = np.linalg.norm(of_ball.vertices_mm - (40, 30, 40), axis=1)
    assert abs(radii - 24).max() < 4 and abs(np.mean(radii) - 24) < 1.5
    np.testing.assert_allclose(of_speck.vertices_mm.mean(axis=0), (42, 35, 45), atol=4)


def test_empty_masks():
    empty = np.zeros((4, 5, 6), dtype=bool)
    assert make_surfaces([empty, empty], spacing_mm=SPACING_MM) == ([None, None], None)
    (of_empty, of_full), _ = make_surfaces([empty, ~empty], spacing_mm=SPACING_MM)
    assert of_empty is None and of_full is not None


def view_of(direction):
    reference = block((6, 20, 14), (2, 4), (5, 15), (3, 9)).astype(np.uint8)
    image = sitk.GetImageFromArray(reference)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetDirection(direction)
    longer = block((6, 20, 14), (2, 4), (5, 18), (3, 9)).astype(np.uint8)
    view = CaseView(PicturedCase("case", Path("case.nii.gz"), image, {"simple": longer}, {"simple": 0.9}), [1])
    return view.data(["simple"])


def array(encoded):
    return np.frombuffer(base64.b64decode(encoded["bdata"]), encoded["dtype"])


def test_view_shows_the_patient_whatever_the_order_of_the_voxels():
    upright = view_of((1, 0, 0, 0, 1, 0, 0, 0, 1))
    turned = view_of((-1, 0, 0, 0, 0, 1, 0, 1, 0))  # x to the right, y to the head
    for data in (upright, turned):
        assert max(array(data["predictions"][0]["intensity"])) == pytest.approx(3, abs=0.3)
        assert data["reference"] is not None and data["range"] == 2
    (first,), (second,) = upright["predictions"], turned["predictions"]
    np.testing.assert_allclose(np.sort(array(second["x"])), np.sort(-array(first["x"])), atol=1e-4)
    np.testing.assert_allclose(np.sort(array(second["z"])), np.sort(array(first["y"])), atol=1e-4)
    assert upright["low"][0] == pytest.approx(array(first["x"]).min(), abs=1e-4)
