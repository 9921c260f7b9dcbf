"""Image files as other programs write them, which SimpleITK itself would not write."""

import gzip
import re

import nibabel
import numpy as np
import SimpleITK as sitk

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_affine(image):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return RAS_FROM_LPS @ affine


def moved(affine, offset_mm):
    result = affine.copy()
    result[:3, 3] += offset_mm
    return result


def sheared(affine, slope):
    """Lean the second axis towards the first by so many mm per mm."""
    lean = np.eye(4)
    lean[:3, 1] += slope * affine[:3, 0] / np.linalg.norm(affine[:3, 0]) * np.linalg.norm(affine[:3, 1])
    result = affine.copy()
    result[:3, 1] += lean[:3, 1] - (0, 1, 0)
    return result


def write_nifti(file, image, *, sform=None, sform_code=0, qform=None, qform_code=0, version=1):
    """Write the voxels of an image with any two placements (RAS)."""
    kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    written = kind(sitk.GetArrayFromImage(image).T, None)
    written.header.set_zooms(image.GetSpacing())
    if qform is not None:
        written.set_qform(qform, qform_code)
    if sform is not None:
        written.set_sform(sform, sform_code)
    written.header["qform_code"], written.header["sform_code"] = qform_code, sform_code
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(written, file)


def write_sheared(file, image, slope):
    """Write .nrrd or .mha whose second axis leans towards the first."""
    axes = np.reshape(image.GetDirection(), (3, 3)).T.copy()  # rows: the image axes x, y, z
    axes[1] += slope * axes[0]
    if file.suffix == ".nrrd":
        axes *= np.array(image.GetSpacing())[:, None]
        line = "space directions: " + " ".join(f"({','.join(map(repr, axis))})" for axis in axes.tolist())
    else:
        line = "TransformMatrix = " + " ".join(map(repr, axes.ravel().tolist()))
    rewrite_header(file, image, line)


def rewrite_header(file, image, line):
    """Write an image, then replace the line of its text header that begins like this one."""
    sitk.WriteImage(image, str(file))
    content, key = file.read_bytes(), re.match(r"[^:=]+", line)[0].encode()
    first = content.index(key)
    file.write_bytes(content[:first] + line.encode() + content[content.index(b"\n", first) :])


def write_4d(file, image, *, count=3):
    sitk.WriteImage(sitk.JoinSeries([image] * count), str(file))


def write_compressed_nii(file, image):
    """Write a compressed file whose name does not say so."""
    sitk.WriteImage(image, str(file))
    file.write_bytes(gzip.compress(file.read_bytes()))
