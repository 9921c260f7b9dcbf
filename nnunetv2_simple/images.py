"""Reading images and comparing their geometry, with SimpleITK."""

import zlib

import nibabel
import numpy as np
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

IMAGE_FILE_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
NIFTI_FILE_ENDINGS = (".nii.gz", ".nii")
GEOMETRY_TOLERANCE = 1e-4  # mm for spacing and origin, unitless for direction cosines
OBLIQUE_TOLERANCE = 1e-3  # of direction cosines: 0.06 degrees


def image_file_ending(file_name: str) -> str:
    """Return the end of a file name that says it is an image, in upper or lower case; "" if it is none."""
    ending = next((ending for ending in IMAGE_FILE_ENDINGS if file_name.lower().endswith(ending)), "")
    return file_name[len(file_name) - len(ending) :]


def read_volume(file: str) -> sitk.Image:
    """Read a three-dimensional image of one channel.

    Args:
        file: Any format SimpleITK reads.

    Raises:
        ValueError: If the file cannot be read whole, is not such an image, or holds complex numbers, NaN or infinite
            voxels.
    """
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise ValueError(f"cannot read {file} as an image: {reason_of(error)}") from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise ValueError(f"{file} must hold real numbers, got a {image.GetPixelIDTypeAsString()}")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"{file} must be a three-dimensional image of one channel, got {image.GetDimension()} dimensions and "
            f"{image.GetNumberOfComponentsPerPixel()} channels"
        )
    if not np.isfinite(_voxels(image, str(file))).all():
        raise ValueError(f"{file} holds NaN or infinite voxels")
    return image


def reason_of(error: RuntimeError) -> str:
    """Return what ITK says, without its own files and what the operating system said of something else."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("Exception thrown in", "Reason:")))


def _voxels(image: sitk.Image, file: str) -> np.ndarray:
    """Return the voxels of a file; of NIfTI as nibabel reads them, as SimpleITK reads NaN and missing ones as zero."""
    if image_file_ending(file).lower() not in NIFTI_FILE_ENDINGS:
        return sitk.GetArrayViewFromImage(image)
    try:
        return np.asanyarray(nibabel.load(file).dataobj)
    except (OSError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise ValueError(f"cannot read {file} whole: {error}") from error


def check_same_geometry(image: sitk.Image, other: sitk.Image, *, names: tuple[str, str]) -> None:
    """Make sure two images share size, spacing, origin and direction.

    Args:
        image: The one.
        other: The other.
        names: What to call them in the error, such as their files.

    Raises:
        ValueError: Naming the first property that differs, and both values.
    """
    for what in ("Size", "Spacing", "Origin", "Direction"):
        values = [getattr(i, f"Get{what}")() for i in (image, other)]
        if not np.allclose(*values, rtol=0, atol=GEOMETRY_TOLERANCE):
            raise ValueError(f"{what.lower()} differs: {values[0]} in {names[0]}, {values[1]} in {names[1]}")


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
    """
    try:
        sitk.WriteImage(image, file, useCompression=True)
        is_whole = np.array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayFromImage(sitk.ReadImage(file)))
    except RuntimeError as error:
        raise OSError(f"{file} could not be written: {error}") from error
    if not is_whole:
        raise OSError(f"{file} could not be written whole, is the disk full?")
