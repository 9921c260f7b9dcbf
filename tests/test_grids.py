"""The grids of images, by numbers worked out by hand or by scipy."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.linalg import polar
from support.conversion_cases import oblique_image, rotation
from support.odd_files import moved, ras_affine, sheared, write_nifti, write_sheared

from nnunetv2_simple.grids import (
    GRID_TOLERANCE_VOXELS,
    check_same_geometry,
    make_right_angled,
    on_grid_of,
    placement_warning,
)
from nnunetv2_simple.images import label_array, read_grid, read_volume

SIZE = (11, 7, 5)
NAMES = ("the grid", "the other")


def numbered(size=SIZE):
    """Every voxel differs from every other."""
    image = sitk.GetImageFromArray(1 + np.arange(np.prod(size), dtype=np.int16).reshape(size[::-1]))
    image.SetSpacing((0.5, 1.0, 3.0))
    image.SetOrigin((10, -20, 30))
    image.SetDirection(rotation(20, "z").ravel())
    return image


def changed(image, **properties):
    result = sitk.Image(image)
    for name, value in properties.items():
        getattr(result, f"Set{name}")(value)
    return result


# ---------------------------------------------------------------------------------------------- the same grid or not


def test_the_far_corner_decides_in_voxels():
    """The far corner of 11 voxels of 0.5 mm is 10 voxels away: 1 % of a voxel's size moves it by a tenth of a voxel."""
    image = numbered()
    share = GRID_TOLERANCE_VOXELS / 10
    check_same_geometry(image, changed(image, Spacing=(0.5 * (1 + 0.99 * share), 1, 3)), names=NAMES)
    with pytest.raises(ValueError, match="spacing differs: .*; the far corners are 0.05 mm apart"):
        check_same_geometry(image, changed(image, Spacing=(0.5 * 1.01, 1, 3)), names=NAMES)


@pytest.mark.parametrize("axis", range(3))
def test_an_origin_may_be_off_by_a_fraction_of_a_voxel(axis):
    image = numbered()
    along = np.reshape(image.GetDirection(), (3, 3))[:, axis] * image.GetSpacing()[axis]
    for voxels in (-0.9 * GRID_TOLERANCE_VOXELS, 0.9 * GRID_TOLERANCE_VOXELS):
        check_same_geometry(image, changed(image, Origin=image.GetOrigin() + voxels * along), names=NAMES)
    with pytest.raises(ValueError, match="origin differs"):
        check_same_geometry(image, changed(image, Origin=image.GetOrigin() + 0.5 * along), names=NAMES)


def test_another_size_is_another_grid():
    with pytest.raises(ValueError, match=r"size differs: \(11, 7, 5\) in the grid, \(11, 7, 4\) in the other"):
        check_same_geometry(numbered(), numbered((11, 7, 4)), names=NAMES)


# ------------------------------------------------------------------------------------------------------- reordering

FLIPS = [flips for flips in itertools.product((False, True), repeat=3) if any(flips)]
ORDERS = [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("flips", FLIPS)
def test_a_flipped_grid_is_reordered_without_loss(flips, dtype):
    image = sitk.Cast(numbered(), sitk.GetImageFromArray(np.zeros((1, 1, 1), dtype)).GetPixelID())
    flipped = sitk.Flip(image, flips, False)
    flipped.SetOrigin(np.array(flipped.GetOrigin()) + 0.01)
    result = on_grid_of(flipped, image, names=NAMES)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(image))
    check_same_geometry(image, result, names=NAMES)


@pytest.mark.parametrize("order", ORDERS)
def test_axes_in_another_order_are_reordered_without_loss(order):
    image = numbered()
    result = on_grid_of(sitk.PermuteAxes(image, order), image, names=NAMES)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(image))
    assert result.GetSize() == SIZE


def test_a_label_image_cropped_to_its_extent_is_pasted():
    image = numbered()
    expected = sitk.GetArrayFromImage(image)
    expected[:2], expected[:, :, :3], expected[:, 6:] = 0, 0, 0
    cropped = sitk.Flip(image[3:, :6, 2:], (True, False, True), False)
    result = on_grid_of(cropped, image, names=NAMES, may_be_cropped=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), expected)
    with pytest.raises(ValueError, match="size differs"):  # of an image, a part is missing
        on_grid_of(cropped, image, names=NAMES)


@pytest.mark.parametrize("offset", [(1, 0, 0), (0, 0, -1), (0.5, 0, 0), (0, 0.1, 0)])
def test_a_shifted_grid_stays_refused(offset):
    """By whole voxels too: an image of the same size that lies beside the other one is no part of it."""
    image = numbered()
    origin = image.TransformContinuousIndexToPhysicalPoint(offset)
    with pytest.raises(ValueError, match="origin differs"):
        on_grid_of(changed(image, Origin=origin), image, names=NAMES, may_be_cropped=True)


def test_a_grid_of_other_voxels_stays_refused():
    image = numbered()
    for other in (changed(image, Spacing=(0.25, 0.5, 1.5)), changed(image, Direction=rotation(25, "z").ravel())):
        with pytest.raises(ValueError, match="differs"):
            on_grid_of(other, image, names=NAMES, may_be_cropped=True)


# ------------------------------------------------------------------------------------------------------------ shear


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_shear_is_refused_with_its_displacement(ending, tmp_path):
    file, image = tmp_path / f"image{ending}", oblique_image(np.ones((9, 15, 13), np.int16))
    write_sheared(file, image, 0.2)
    read = sitk.ReadImage(str(file))
    direction = np.reshape(read.GetDirection(), (3, 3))
    corners = np.array(list(itertools.product((0, 12), (0, 14), (0, 8)))) * read.GetSpacing()
    apart_mm = np.linalg.norm(corners @ (direction - polar(direction)[0]).T, axis=1).max()
    assert apart_mm > 1
    with pytest.raises(ValueError, match=f"{file} is sheared.* {apart_mm:.2g} mm") as error:
        read_volume(str(file))
    with pytest.raises(ValueError, match="is sheared"):
        read_grid(str(file))
    assert "ITK" not in str(error.value)


def test_the_displacement_named_is_what_itk_would_write(tmp_path):
    file, image = tmp_path / "image.mha", oblique_image(np.ones((9, 15, 13), np.int16))
    write_sheared(file, image, 0.2)
    read = sitk.ReadImage(str(file))
    sitk.WriteImage(read, str(tmp_path / "written.nii.gz"))
    written = sitk.ReadImage(str(tmp_path / "written.nii.gz"))
    apart_mm = max(
        np.linalg.norm(np.subtract(*(i.TransformIndexToPhysicalPoint(corner) for i in (read, written))))
        for corner in itertools.product((0, 12), (0, 14), (0, 8))
    )
    with pytest.raises(ValueError, match=f"{apart_mm:.2g} mm"):
        read_volume(str(file))


def test_rounding_is_no_shear():
    image = numbered()
    rounded = changed(image, Direction=np.round(image.GetDirection(), 3).ravel().tolist())
    make_right_angled(rounded, "file")
    direction = np.reshape(rounded.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), rtol=0, atol=1e-12)
    check_same_geometry(image, rounded, names=NAMES)


# ---------------------------------------------------------------------------------------------- NIfTI's two placements

# What SimpleITK does: the sform counts where its code is 1 or there is no qform.
COUNTING = {(1, 1): "sform", (1, 2): "sform", (2, 1): "qform", (4, 1): "qform", (2, 2): "qform"}


@pytest.mark.parametrize("codes", COUNTING)
def test_placements_that_disagree_are_warned_of(codes, tmp_path):
    file, image = tmp_path / "image.nii.gz", numbered()
    affine = ras_affine(image)
    other = moved(affine, (0, 3, 4))
    write_nifti(file, image, sform=other, sform_code=codes[0], qform=affine, qform_code=codes[1])
    read = read_volume(str(file))
    warning = placement_warning(read)
    assert str(file) in warning
    assert "5 mm" in warning
    assert f"the {COUNTING[codes]} counts" in warning
    expected = {"sform": (0, -3, 4), "qform": (0, 0, 0)}[COUNTING[codes]]
    np.testing.assert_allclose(np.subtract(read.GetOrigin(), image.GetOrigin()), expected, atol=1e-5)


def test_placements_that_agree_are_not(tmp_path):
    file, image = tmp_path / "image.nii.gz", numbered()
    affine = ras_affine(image)
    for codes in ((1, 1), (2, 1), (1, 0), (0, 1), (0, 0)):
        close = moved(affine, (0.001, 0, 0))
        write_nifti(file, image, sform=close, sform_code=codes[0], qform=affine, qform_code=codes[1])
        assert placement_warning(read_volume(str(file))) is None


def test_a_sheared_sform_beside_a_sound_qform_is_warned_of(tmp_path, capfd):
    file, image = tmp_path / "image.nii.gz", numbered()
    affine = ras_affine(image)
    write_nifti(file, image, sform=sheared(affine, 0.2), sform_code=1, qform=affine, qform_code=1)
    warning = placement_warning(read_volume(str(file)))
    assert "the qform counts" in warning
    assert "1.2 mm" in warning  # 0.2 mm per mm, along 6 voxels of 1 mm
    assert capfd.readouterr().err == ""  # nothing from ITK


def test_a_sheared_sform_alone_is_refused(tmp_path):
    file, image = tmp_path / "image.nii.gz", numbered()
    write_nifti(file, image, sform=sheared(ras_affine(image), 0.2), sform_code=1)
    with pytest.raises(ValueError, match=f"{file} is sheared"):
        read_volume(str(file))


@pytest.mark.parametrize("version", [1, 2])
def test_what_itk_refuses_is_read_as_nibabel_reads_it(version, tmp_path):
    """An sform that is not orthonormal by rounding alone, and NIfTI-2."""
    file, image = tmp_path / "image.nii.gz", numbered()
    write_nifti(file, image, sform=sheared(ras_affine(image), 0.0005), sform_code=1, version=version)
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(file))
    read = read_volume(str(file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(image))
    check_same_geometry(image, read, names=NAMES)
    check_same_geometry(image, read_grid(str(file)), names=NAMES)


def test_a_voxel_size_that_contradicts_the_sform_is_refused(tmp_path):
    file, image = tmp_path / "image.nii.gz", numbered()
    write_nifti(file, image, sform=ras_affine(image) @ np.diag([2, 1, 1, 1]), sform_code=1)
    with pytest.raises(ValueError, match=f"{file} contradicts itself.* 5 mm from where its sform"):
        read_volume(str(file))  # 10 voxels of 0.5 mm


# ----------------------------------------------------------------------------------------------------------- labels


def test_labels_are_rounded_within_a_thousandth():
    image = sitk.GetImageFromArray(np.array([[[0, 1.0009, 1.9991, -0.0009, 2.00002]]], np.float32))
    np.testing.assert_array_equal(label_array(image, "mask"), [[[0, 1, 2, 0, 2]]])


def test_fractions_are_refused_and_named():
    image = sitk.GetImageFromArray(np.array([[[0, 1, 1.25, 0.5, 1.25]]], np.float32))
    with pytest.raises(ValueError, match=r"mask must hold whole numbers.*\[0.5, 1.25\]"):
        label_array(image, "mask")
