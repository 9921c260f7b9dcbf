"""What SimpleITK does not do with NIfTI files: see where both forms place an image, read NIfTI-2 and any sform."""

import zlib
from contextlib import suppress

import nibabel
import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.grids import GRID_TOLERANCE_VOXELS, affine_of, displacement

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
READING_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
)


def read_voxels(file: str) -> np.ndarray:
    """Return the voxels (x, y, z) of a file, scaled as it says; SimpleITK reads NaN and missing ones as zero.

    Raises:
        READING_ERRORS: If they cannot be read whole.
    """
    return np.asanyarray(nibabel.load(file).dataobj)


def read_image(file: str) -> sitk.Image:
    """Read an image that SimpleITK refuses: NIfTI-2, or an sform that is not orthonormal and no qform.

    So does nnU-Net, which tries nibabel where SimpleITK fails.

    Raises:
        READING_ERRORS: If nibabel cannot read it either.
        ValueError: If it holds something else than numbers, or does not say how large its voxels are.
    """
    voxels, affine = read_voxels(file), RAS_TO_LPS @ nibabel.load(file).affine
    voxels = voxels.reshape(voxels.shape[:3] + tuple(size for size in voxels.shape[3:] if size > 1))
    try:
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T), isVector=False)
    except TypeError as error:
        raise ValueError(f"{file} must hold one number per voxel, got {voxels.dtype}") from error
    if voxels.ndim != 3:
        return image
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError(f"{file} has an sform or qform that gives its voxels no size: {affine.tolist()}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def check_forms(image: sitk.Image, file: str) -> str | None:
    """Compare where an image lies with what the sform and the qform of its file say.

    SimpleITK reads the sform where its code is 1 (scanner) or there is no qform, otherwise the qform, as well as where
    the sform is not orthonormal. nibabel always reads the sform if there is one. Which one counts is found by
    comparison, not by these rules.

    Args:
        image: What was read.
        file: NIfTI.

    Returns:
        What to warn of: that they disagree, by how much, and which one counts. None if they do not.

    Raises:
        ValueError: If the image lies where neither of them places it.
    """
    header, forms = nibabel.load(file).header, {}
    for name, form in (("sform", header.get_sform), ("qform", header.get_qform)):
        with suppress(nibabel.spatialimages.HeaderDataError):  # quaternions that are none are no placement
            affine, code = form(coded=True)
            if code:
                forms[name] = RAS_TO_LPS @ affine
    read, size = affine_of(image), image.GetSize()
    apart = {name: displacement(read, affine, size) for name, affine in forms.items()}
    counting = [name for name, (_, voxels) in apart.items() if voxels <= GRID_TOLERANCE_VOXELS]
    if forms and not counting:
        name, (apart_mm, _) = next(iter(apart.items()))
        raise ValueError(
            f"{file} contradicts itself: with its voxel size {image.GetSpacing()} mm (pixdim) its far corner lies "
            f"{apart_mm:.2g} mm from where its {name} places it; save it again with one geometry"
        )
    if len(forms) == 2 and len(counting) == 1:
        others = " and nibabel" if counting == ["sform"] else "; nibabel, and programs built on it, use the sform"
        apart_mm, _ = displacement(forms["sform"], forms["qform"], size)
        return (
            f"the sform and the qform of {file} disagree by {apart_mm:.2g} mm at the far corner: the {counting[0]} "
            f"counts, as for nnU-Net's default reader, SimpleITK{others}"
        )
    return None
