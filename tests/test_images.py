"""Images on disk."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from support.full_disk import full_disk

from nnunetv2_simple.images import image_file_ending, read_volume, write_image


def noise(dtype: type) -> sitk.Image:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 200, (5, 7, 11)).astype(dtype))
    image.SetSpacing((0.7, 1.1, 3.0))
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_is_written_is_what_is_read(tmp_path, dtype):
    file = str(tmp_path / "image.nii.gz")
    write_image(noise(dtype), file)
    read = sitk.ReadImage(file)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(noise(dtype)))
    np.testing.assert_allclose(read.GetSpacing(), (0.7, 1.1, 3.0), rtol=1e-6)


@pytest.mark.parametrize("num_bytes", [10, 200, 300])
def test_a_full_disk_is_noticed(tmp_path, num_bytes):
    """SimpleITK itself writes half a file and says nothing."""
    file = tmp_path / "image.nii.gz"
    with full_disk(num_bytes), pytest.raises(OSError, match=f"{file} could not be written"):
        write_image(noise(np.uint8), str(file))


def test_a_missing_folder_is_named(tmp_path):
    file = tmp_path / "missing" / "image.nii.gz"
    with pytest.raises(OSError, match=f"{file} could not be written"):
        write_image(noise(np.uint8), str(file))


@pytest.mark.parametrize(
    ("ending", "dtype", "share"),
    list(itertools.product([".nii.gz", ".nii"], [np.uint8, np.int16, np.float32], [0.3, 0.97]))
    + [(ending, np.int16, 0.5) for ending in (".mha", ".nrrd")],
)
def test_half_a_file_is_refused_and_named(tmp_path, ending, dtype, share):
    """SimpleITK itself fills up what is missing of a NIfTI file with zeros and says nothing."""
    file = tmp_path / f"image{ending}"
    sitk.WriteImage(noise(dtype), str(file), useCompression=True)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match=f"cannot read {file}"):
        read_volume(str(file))


def test_the_reason_is_not_that_of_another_file(tmp_path):
    file = tmp_path / "image.nrrd"
    file.write_text("this is no image")
    with pytest.raises(ValueError, match=f"cannot read {file} as an image: .") as error:
        read_volume(str(file))
    assert "No such file" not in str(error.value)


def test_complex_numbers_are_refused(tmp_path):
    file = tmp_path / "image.nii.gz"
    array = np.ones((3, 4, 5))
    sitk.WriteImage(sitk.RealAndImaginaryToComplex(*[sitk.GetImageFromArray(array)] * 2), str(file))
    with pytest.raises(ValueError, match=f"{file} must hold real numbers, got a complex"):
        read_volume(str(file))


@pytest.mark.parametrize(
    ("name", "ending"), [("a.nii.gz", ".nii.gz"), ("a.NII.GZ", ".NII.GZ"), ("b.0.Nrrd", ".Nrrd"), ("a.nii.txt", "")]
)
def test_upper_case_makes_no_difference_to_what_is_an_image(name, ending):
    assert image_file_ending(name) == ending
