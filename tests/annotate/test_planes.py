import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import rotation

from nnunetv2_simple.annotate.planes import planes_of

SIZE, SPACING_MM = (5, 6, 7), (1.0, 2.0, 3.0)  # x, y, z


def image(direction=((1, 0, 0), (0, 1, 0), (0, 0, 1))):
    volume = sitk.GetImageFromArray(np.arange(210, dtype=np.int16).reshape(SIZE[::-1]))
    volume.SetSpacing(SPACING_MM)
    volume.SetDirection(np.asarray(direction, dtype=float).ravel().tolist())
    return volume


def test_radiological_orientation_of_an_image_in_lps():
    planes = planes_of(image())
    assert planes["axial"].ends == ("R", "L", "P", "A")
    assert planes["coronal"].ends == ("R", "L", "I", "S")
    assert planes["sagittal"].ends == ("A", "P", "I", "S")
    axial = planes["axial"]
    assert (axial.axes, axial.is_reversed, axial.extent_mm) == ((0, 1, 2), (False, True), (5.0, 12.0))
    assert axial.on_screen((0, 0, 3)) == (0.5, 11.0), "the most anterior row is on top"
    assert axial.voxel_at(0.5, 11.0, 3) == (0, 0, 3)
    assert axial.voxel_at(5.1, 11.0, 3) is None


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [0, 20, 90, 180, -90])
def test_the_patient_s_left_is_right_on_the_screen_whatever_the_image_axes(degrees, axis):
    volume = image(rotation(degrees, axis))
    array = sitk.GetArrayFromImage(volume)
    for plane in planes_of(volume).values():
        for voxel in [(0, 0, 0), (4, 5, 6), (1, 4, 2), (3, 0, 5)]:
            index = voxel[plane.axes[2]]
            right, up = plane.on_screen(voxel)
            assert plane.voxel_at(right, up, index) == voxel
            row, column = int(up / plane.spacing_mm[1]), int(right / plane.spacing_mm[0])
            assert plane.cut(array, index)[row, column] == array[voxel[::-1]]
    if degrees != 20:
        axial = planes_of(volume)["axial"]
        size = np.array(axial.extent_mm)
        left, right = (axial.voxel_at(x, size[1] / 2, 0) for x in (0.1, size[0] - 0.1))
        bottom, top = (axial.voxel_at(size[0] / 2, y, 0) for y in (0.1, size[1] - 0.1))
        to_left = np.subtract(volume.TransformIndexToPhysicalPoint(right), volume.TransformIndexToPhysicalPoint(left))
        to_top = np.subtract(volume.TransformIndexToPhysicalPoint(top), volume.TransformIndexToPhysicalPoint(bottom))
        assert to_left[0] > 0
        assert to_top[1] < 0
