"""Images on disk."""

import itertools
import os

import numpy as np
import pytest
import SimpleITK as sitk
from support.full_disk import full_disk
from support.odd_files import write_4d, write_compressed_nii

from nnunetv2_simple.images import image_file_ending, read_header, read_volume, write_image


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


# ------------------------------------------------------------------------------------- why a file could not be read


def write_gzip(file):
    write_compressed_nii(file, noise(np.uint8))


def write_bare(file):
    sitk.WriteImage(noise(np.uint8), str(file.with_name("other.nii")))
    file.write_bytes(file.with_name("other.nii").read_bytes())


def write_without_voxels(file):
    sitk.WriteImage(noise(np.uint8), str(file))
    file.with_suffix(".raw").unlink()


def write_detached(file):
    file.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: image.raw\n\n")


UNREADABLE = {
    "image.nii": (write_gzip, "rename it to end in .nii.gz"),
    "image.nii.gz": (write_bare, "rename it to end in .nii"),
    "image.mhd": (write_without_voxels, "image.raw, which is not there"),
    "detached.nrrd": (write_detached, "image.raw, which is not there"),
    "missing.nrrd": (lambda file: None, "No such file"),
    "empty.nii.gz": (lambda file: file.write_bytes(b""), "it is empty"),
    "text.nii.gz": (lambda file: file.write_text("this is no image"), "its content is not that of a .nii.gz file"),
    "text.nrrd": (lambda file: file.write_text("this is no image"), "its content is not that of a .nrrd file"),
    "text.mha": (lambda file: file.write_text("this is no image"), "its content is not that of a .mha file"),
    "4d.nii.gz": (
        lambda file: write_4d(file, noise(np.uint8)),
        "3 images in 4 dimensions, .* a three-dimensional file",
    ),
    "4d.nrrd": (lambda file: write_4d(file, noise(np.uint8)), "3 images in 4 dimensions, .* a three-dimensional file"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_reason_is_said_in_our_own_words(name, tmp_path, capfd):
    file, (write, reason) = tmp_path / name, UNREADABLE[name]
    write(file)
    with pytest.raises(ValueError, match=f"{file}.*{reason}") as error:
        read_volume(str(file))
    assert "ITK" not in str(error.value)
    assert "Exception" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_path_that_is_not_utf8_is_refused(tmp_path):
    """SimpleITK itself ends the process."""
    file = tmp_path / os.fsdecode(b"tum\xf6r.nii.gz")
    for function in (read_volume, read_header, lambda file: write_image(noise(np.uint8), file)):
        with pytest.raises(ValueError, match=r"tum\\xf6r.nii.gz is not UTF-8"):
            function(str(file))
