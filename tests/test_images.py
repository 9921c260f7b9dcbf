"""Images on disk."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from full_disk import full_disk

from nnunetv2_simple.images import write_image


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
