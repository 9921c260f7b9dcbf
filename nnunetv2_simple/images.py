"""Reading and writing images, with SimpleITK."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

from nnunetv2_simple import nifti
from nnunetv2_simple.files import check_is_utf8
from nnunetv2_simple.grids import PLACEMENT_WARNING, make_right_angled

IMAGE_FILE_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
NIFTI_FILE_ENDINGS = (".nii.gz", ".nii")
OBLIQUE_TOLERANCE = 1e-3  # of direction cosines: 0.06 degrees
LABEL_TOLERANCE = 1e-3  # labels saved as scaled floats are off by some 1e-5, interpolated ones by up to 0.5
HEADER_BYTES = 1 << 16
GZIP = b"\x1f\x8b"
NIFTI_HEADERS = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # their sizes, 348 and 540
DETACHED_DATA = {  # where a header names the file of its voxels
    ".mhd": rb"^ElementDataFile\s*=\s*([^\r\n]+?)\s*$",
    ".mha": rb"^ElementDataFile\s*=\s*([^\r\n]+?)\s*$",
    ".nrrd": rb"^data ?file:\s*([^\r\n]+?)\s*$",
}


def image_file_ending(file_name: str) -> str:
    """Return the end of a file name that says it is an image, in upper or lower case; "" if it is none."""
    ending = next((ending for ending in IMAGE_FILE_ENDINGS if file_name.lower().endswith(ending)), "")
    return file_name[len(file_name) - len(ending) :]


def read_volume(file: str) -> sitk.Image:
    """Read a three-dimensional image of one channel.

    Args:
        file: Any format SimpleITK reads, and NIfTI-2.

    Returns:
        The image, its axes at right angles. See also :func:`nnunetv2_simple.grids.placement_warning`.

    Raises:
        ValueError: If the file cannot be read whole, is not such an image, is sheared or contradicts itself in where
            the image lies, or holds complex numbers, NaN or infinite voxels.
    """
    file = str(file)
    image = _read(file)
    if "complex" in image.GetPixelIDTypeAsString():
        raise ValueError(f"{file} must hold real numbers, got a {image.GetPixelIDTypeAsString()}")
    _check_dimensions(image, file)
    is_nifti = image_file_ending(file).lower() in NIFTI_FILE_ENDINGS
    try:
        voxels = nifti.read_voxels(file) if is_nifti else sitk.GetArrayViewFromImage(image)
    except nifti.READING_ERRORS as error:
        raise ValueError(f"cannot read {file} completely: {_why_unreadable(file)}") from error
    if not np.isfinite(voxels).all():
        raise ValueError(f"{file} holds NaN or infinite voxels")
    make_right_angled(image, file)
    if is_nifti and (warning := nifti.check_forms(image, file)):
        image.SetMetaData(PLACEMENT_WARNING, warning)
    return image


def read_header(file: str) -> sitk.ImageFileReader:
    """Read what an image file says about its grid.

    Raises:
        ValueError: If SimpleITK cannot read it.
    """
    file = str(file)
    check_is_utf8(file)
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        with _silent_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"cannot read {file} as an image: {_why_unreadable(file)}") from error
    return reader


def read_grid(file: str) -> sitk.Image:
    """Return an image of zeros on the grid of a file, as :func:`read_volume` has it, from its header if possible.

    Raises:
        ValueError: If the file cannot be read or is sheared.
    """
    try:
        header = read_header(file)
    except ValueError:
        return read_volume(file)
    grid = sitk.Image(header.GetSize(), sitk.sitkUInt8)
    grid.SetSpacing(header.GetSpacing())
    grid.SetOrigin(header.GetOrigin())
    grid.SetDirection(header.GetDirection())
    make_right_angled(grid, str(file))
    return grid


def label_array(image: sitk.Image, file: str) -> np.ndarray:
    """Return the voxels (z, y, x) of a label image as whole numbers.

    Raises:
        ValueError: If they are further than ``LABEL_TOLERANCE`` from whole numbers, naming some of them.
    """
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind != "f":
        return array
    whole = np.rint(array)
    fractions = np.unique(array[abs(array - whole) > LABEL_TOLERANCE])
    if len(fractions):
        raise ValueError(
            f"{file} must hold whole numbers, got {len(fractions)} other values, such as {fractions[:5].tolist()}: was "
            f"it resampled as an image?"
        )
    return whole


def spacing_zyx_mm(image: sitk.Image) -> tuple[float, float, float]:
    """Return the voxel size in mm in the order of the image's array (z, y, x)."""
    return image.GetSpacing()[::-1]


def patient_axes(image: sitk.Image) -> np.ndarray | None:
    """Return the patient axes of an oblique image, each named after the image axis it is closest to.

    Returns:
        (3, 3), row i the unit vector of the patient axis closest to image axis i, in the image's own axes (z, y, x)
        and pointing the same way: the identity up to the tilt of the image. None for images that are not oblique,
        whatever their orientation.
    """
    direction = np.reshape(image.GetDirection(), (3, 3))[::-1, ::-1]  # columns: image axes z, y, x
    patient_axis_of, image_axis_of = linear_sum_assignment(-abs(direction))
    axes = np.empty((3, 3))
    for patient_axis, image_axis in zip(patient_axis_of, image_axis_of, strict=True):
        axes[image_axis] = direction[patient_axis] * np.sign(direction[patient_axis, image_axis])
    return None if np.allclose(axes, np.eye(3), rtol=0, atol=OBLIQUE_TOLERANCE) else axes


def image_like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    """Make an image of an array (z, y, x), with the geometry of another image."""
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    return result


def write_image(image: sitk.Image, file: str) -> None:
    """Write an image, compressed, and make sure that it arrived.

    SimpleITK says nothing of a disk that is full before the end of a compressed file.

    Raises:
        OSError: If what is on disk is not the image.
        ValueError: If the path is not UTF-8.
    """
    check_is_utf8(file)
    try:
        sitk.WriteImage(image, file, useCompression=True)
        is_whole = np.array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayFromImage(sitk.ReadImage(file)))
    except RuntimeError as error:
        raise OSError(f"{file} could not be written: is its folder missing or the disk full?") from error
    if not is_whole:
        raise OSError(f"{file} could not be written completely; is the disk full?")


@contextmanager
def _silent_itk() -> Iterator[None]:
    """Keep ITK from writing to standard error what is checked and said here."""
    was_on = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_on)


def _read(file: str) -> sitk.Image:
    check_is_utf8(file)
    if missing := _missing_data_file(file):
        raise ValueError(f"cannot read {file} as an image: its voxels are in {missing}, which is not there")
    try:
        with _silent_itk():
            return sitk.ReadImage(file)
    except RuntimeError as error:
        if image_file_ending(file).lower() in NIFTI_FILE_ENDINGS:
            with suppress(*nifti.READING_ERRORS):
                return nifti.read_image(file)
        raise ValueError(f"cannot read {file} as an image: {_why_unreadable(file)}") from error


def _check_dimensions(image: sitk.Image, file: str) -> None:
    size, num_components = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    if len(size) > 3:
        raise ValueError(
            f"{file} holds {np.prod(size[3:])} images in {len(size)} dimensions, of size {size}: save each phase or "
            f"channel as a three-dimensional file of its own"
        )
    if len(size) < 3 or num_components != 1:
        raise ValueError(
            f"{file} must be a three-dimensional image of one channel, got {len(size)} dimensions and "
            f"{num_components} channels (3D Slicer saves segments that overlap so); save each as a file of its own"
        )


def _missing_data_file(file: str) -> Path | None:
    """Return the file that holds the voxels of a header, if it is another one and not there."""
    pattern = DETACHED_DATA.get(image_file_ending(file).lower())
    if pattern is None or not os.path.isfile(file):
        return None
    found = re.search(pattern, _head(file).partition(b"\n\n")[0], re.MULTILINE | re.IGNORECASE)
    named = os.fsdecode(found[1]) if found else "LOCAL"
    is_list = named.upper().startswith("LIST") or "%" in named
    data_file = Path(file).parent / named
    return None if named.upper() == "LOCAL" or is_list or data_file.exists() else data_file


def _why_unreadable(file: str) -> str:
    try:
        head = _head(file)
    except OSError as error:
        return f"{error.strerror}"
    ending = image_file_ending(file).lower()
    is_gzip, is_nifti = head.startswith(GZIP), head.startswith(NIFTI_HEADERS)
    if ending == ".nii" and is_gzip:
        return "it is compressed (gzip), but its name does not say so; rename it to end in .nii.gz"
    if ending == ".nii.gz" and is_nifti:
        return "it is not compressed, but its name says so; rename it to end in .nii"
    has_format = {
        ".nii.gz": is_gzip,
        ".nii": is_nifti,
        ".nrrd": head.startswith(b"NRRD"),
        ".mha": b"NDims" in head,
        ".mhd": b"NDims" in head,
    }
    if not head:
        return "it is empty"
    if not has_format.get(ending, True):
        return f"its content is not that of a {ending} file"
    return "it ends early or is damaged"


def _head(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(HEADER_BYTES)
