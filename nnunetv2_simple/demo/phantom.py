"""Synthetic breast DCE-MRI: a fat-suppressed T1 breast before and after contrast, with one tumor among distractors.

The patient faces low y: air and nipple there, chest wall and lung at high y. Every length is in mm, so that a phantom
looks alike on any grid. Intensities are in arbitrary MR units of about 0 to 1500.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

TUMOUR_KINDS = ("homogeneous", "heterogeneous", "rim", "faint")
TUMOUR_SHAPES = ("irregular", "round", "curved")

_MIN_EXTENT_MM = 40.0
_MAX_SPACING_MM = 4.0
_TUMOUR_RADIUS_MM = (6.0, 16.0)
# Signal before contrast; fat is suppressed.
_FAT, _GLAND, _SKIN, _MUSCLE, _LUNG, _BLOOD, _LESION = 240.0, 420.0, 330.0, 380.0, 40.0, 360.0, 400.0


@dataclass(frozen=True, eq=False)
class BreastPhantom:
    """One synthetic case.

    Attributes:
        pre_contrast: (z, y, x) float32, phase 0, arbitrary MR units >= 0.
        post_contrast: (z, y, x) float32, first post-contrast phase, same anatomy and bias field, noise of its own.
        tumor: (z, y, x) uint8, 1 inside a tumor: each is one 26-connected component that leaves the outermost voxel
            layer free.
        spacing_mm: Voxel size (z, y, x).
    """

    pre_contrast: np.ndarray
    post_contrast: np.ndarray
    tumor: np.ndarray
    spacing_mm: tuple[float, float, float]


def generate_phantom(
    generator: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (40, 96, 96),
    spacing_mm: tuple[float, float, float] = (2.4, 1.2, 1.2),
    tumor_kind: str | None = None,
    tumor_shape: str = "irregular",
    num_tumors: int = 1,
) -> BreastPhantom:
    """Draw one breast with enhancing tumors, one unless told otherwise, before and after contrast.

    Vessels, patchy background parenchymal enhancement, foci and benign spots enhance like the tumor without being
    labelled. Foci and spots keep 3 mm away from it, as many as fit; vessels and parenchyma may abut on it.

    Args:
        generator: Source of all randomness: equal states give equal phantoms.
        shape: Voxels (z, y, x).
        spacing_mm: Voxel size (z, y, x), each in (0, 4]. Each axis must extend over at least 40 mm.
        tumor_kind: One of ``TUMOUR_KINDS``; one of them but "faint", which hardly enhances more than the
            parenchyma around it, is drawn if None.
        tumor_shape: One of ``TUMOUR_SHAPES``: deformed and lobulated or spiculated, almost a ball, or bent like a
            banana.
        num_tumors: How many tumors there are, 0 for a breast without any. They may touch.

    Returns:
        The phantom. Its tumor mask is exact: made before partial volume, bias field and noise.

    Raises:
        ValueError: If the volume is too small or too coarse for a breast with a tumor, the number is negative, or the
            kind or shape is unknown.
    """
    _check_grid(shape, spacing_mm)
    if tumor_kind is None:
        tumor_kind = TUMOUR_KINDS[generator.integers(3)]
    elif tumor_kind not in TUMOUR_KINDS:
        raise ValueError(f"tumor_kind must be one of {TUMOUR_KINDS} or None, got {tumor_kind!r}")
    if tumor_shape not in TUMOUR_SHAPES:
        raise ValueError(f"tumor_shape must be one of {TUMOUR_SHAPES}, got {tumor_shape!r}")
    if num_tumors < 0:
        raise ValueError(f"num_tumors must be at least 0, got {num_tumors}")
    spacing_mm = tuple(float(s) for s in spacing_mm)
    points_mm = np.indices(shape) * np.reshape(spacing_mm, (3, 1, 1, 1))

    signal, breast = _shape_breast(generator, points_mm, spacing_mm)
    enhancement = np.where(breast, generator.uniform(0.02, 0.08), generator.uniform(0.1, 0.2))
    _add_glandular_tissue(generator, signal, enhancement, breast, spacing_mm)
    _add_vessels(generator, signal, enhancement, breast, spacing_mm)
    tumors = [_grow_tumor(generator, breast, points_mm, spacing_mm, tumor_shape) for _ in range(num_tumors)]
    tumor = np.any(tumors, axis=0) if tumors else np.zeros(shape, dtype=bool)
    _add_spots(generator, signal, enhancement, breast, tumor, points_mm, spacing_mm)
    for one_tumor in tumors:
        _add_tumor(generator, signal, enhancement, one_tumor, tumor_kind, spacing_mm)

    signal *= 1 + 0.05 * _smooth_noise(generator, shape, spacing_mm, 1.5)
    pre_contrast, post_contrast = _acquire(generator, [signal, signal * (1 + enhancement)], spacing_mm)
    return BreastPhantom(pre_contrast, post_contrast, tumor.astype(np.uint8), spacing_mm)


def write_phantom(
    phantom: BreastPhantom,
    folder: Path,
    name: str,
    *,
    channels: Sequence[str] = ("pre_contrast", "post_contrast"),
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a phantom as nnUNetv2_simple_convert reads cases.

    Args:
        phantom: The phantom.
        folder: Gets images/NAME_0000.nii.gz, ..., one per channel, and masks/NAME.nii.gz.
        name: The identifier of the case.
        channels: Which phases to write, in this order.
        origin_mm: Where the first voxel lies (x, y, z).
    """
    files = {f"images/{name}_{number:04d}.nii.gz": getattr(phantom, phase) for number, phase in enumerate(channels)}
    for file, array in (files | {f"masks/{name}.nii.gz": phantom.tumor}).items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(phantom.spacing_mm[::-1])
        image.SetOrigin(origin_mm)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / file))


def _check_grid(shape, spacing_mm) -> None:
    if len(shape) != 3 or len(spacing_mm) != 3:
        raise ValueError(f"shape and spacing_mm must have three entries (z, y, x), got {shape} and {spacing_mm}")
    if not all(0 < s <= _MAX_SPACING_MM for s in spacing_mm):
        raise ValueError(f"spacing_mm must lie in (0, {_MAX_SPACING_MM:g}], got {spacing_mm}")
    if min(n * s for n, s in zip(shape, spacing_mm, strict=True)) < _MIN_EXTENT_MM:
        raise ValueError(
            f"volume too small: each axis must extend over at least {_MIN_EXTENT_MM:g} mm, "
            f"got shape {tuple(shape)} at spacing_mm {tuple(spacing_mm)}"
        )


def _smooth_noise(generator, shape, spacing_mm, scale_mm) -> np.ndarray:
    """Return Gaussian noise of mean 0 and standard deviation 1, correlated over about ``scale_mm``."""
    noise = _blur(generator.standard_normal(shape), scale_mm, spacing_mm)
    return (noise - noise.mean()) / noise.std()


def _blur(volume, sigma_mm, spacing_mm) -> np.ndarray:
    return ndimage.gaussian_filter(volume, [sigma_mm / s for s in spacing_mm], truncate=3)


def _blend(volume, value, occupancy) -> None:
    """Mix ``value`` into ``volume`` in place, where ``occupancy`` in [0, 1] is its share of the voxel."""
    volume += occupancy * (value - volume)


def _shape_breast(generator, points_mm, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Return the pre-contrast signal of fat, skin, muscle, lung and air, and the mask of the breast under the skin."""
    shape = points_mm.shape[1:]
    extent_mm = np.array(shape) * spacing_mm
    z_mm, y_mm, x_mm = points_mm
    centre_z, centre_x = extent_mm[[0, 2]] * generator.uniform(0.48, 0.52, 2)
    radius_z, radius_x = np.minimum(extent_mm[[0, 2]] * generator.uniform(0.46, 0.54, 2), 75.0)
    wall_mm = extent_mm[1] - min(0.22 * extent_mm[1], 30.0) * generator.uniform(0.8, 1.1)
    protrusion_mm = min(wall_mm, 90.0) * generator.uniform(0.82, 0.95)

    # The chest wall curves away from the sternum; the breast, a half-ellipsoid on it, points slightly sideways.
    u = (x_mm - centre_x) / radius_x
    behind_mm = y_mm - wall_mm - 0.06 * extent_mm[1] * (u + generator.choice([-1, 1]) * 0.5) ** 2
    height = np.clip(-behind_mm / protrusion_mm, 0, None)
    u = u - generator.uniform(-0.2, 0.2) * height
    v = (z_mm - centre_z) / radius_z + generator.uniform(0.0, 0.2) * height
    radius = np.sqrt(u**2 + v**2 + height**2) + 0.03 * _smooth_noise(generator, shape, spacing_mm, 12.0)

    body = (radius < 1) | (behind_mm > 0)
    depth_mm = ndimage.distance_transform_edt(np.pad(body, 1, mode="edge"), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    under_skin = depth_mm > generator.uniform(1.5, 2.5)
    muscle_mm = generator.uniform(0.5, 0.7) * (extent_mm[1] - wall_mm)
    signal = np.zeros(shape)
    signal[body] = _SKIN
    signal[under_skin] = _FAT * generator.uniform(0.7, 1.2)
    signal[behind_mm > 0] = _MUSCLE
    signal[behind_mm > muscle_mm] = _LUNG

    breast = under_skin & (behind_mm < -1)
    inside = np.zeros(shape, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    return signal, breast & inside


def _add_glandular_tissue(generator, signal, enhancement, breast, spacing_mm) -> None:
    """Paint fibroglandular tissue, densest deep inside the breast, and its patchy parenchymal enhancement."""
    depth_mm = ndimage.distance_transform_edt(breast, sampling=spacing_mm)
    density = 2.5 * depth_mm / depth_mm.max()
    for scale_mm, weight in ((6.0, 0.6), (2.0, 0.35)):
        density += weight * _smooth_noise(generator, breast.shape, spacing_mm, scale_mm)
    gland = breast & (density > np.quantile(density[breast], generator.uniform(0.6, 0.85)))
    patches = np.clip(0.5 + 0.6 * _smooth_noise(generator, breast.shape, spacing_mm, 3.0), 0, 2)
    occupancy = _blur(gland.astype(float), 0.8, spacing_mm)
    _blend(signal, _GLAND * generator.uniform(0.85, 1.15), occupancy)
    _blend(enhancement, 0.1 + generator.uniform(0.1, 0.5) * patches, occupancy)


def _add_vessels(generator, signal, enhancement, breast, spacing_mm) -> None:
    """Paint curved tubes between random points of the breast."""
    voxels = np.argwhere(breast)
    t = np.linspace(0, 1, 400)[:, None]
    tube_radius_mm, strength = np.zeros(breast.shape), np.zeros(breast.shape)
    for _ in range(generator.integers(5, 10)):
        start, bend, end = generator.choice(voxels, 3) * spacing_mm
        wiggle_mm = generator.uniform(1, 4, 3) * np.sin(t * generator.uniform(6, 15) + generator.uniform(0, 6, 3))
        curve_mm = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end + wiggle_mm
        line = np.clip(np.rint(curve_mm / spacing_mm).astype(int), 0, np.array(breast.shape) - 1)
        tube_radius_mm[tuple(line.T)] = generator.uniform(1.0, 2.2) * (1 - 0.5 * t[:, 0])
        strength[tuple(line.T)] = generator.uniform(0.8, 2.0)
    distance_mm, nearest = ndimage.distance_transform_edt(tube_radius_mm == 0, sampling=spacing_mm, return_indices=True)
    occupancy = np.clip(tube_radius_mm[tuple(nearest)] - distance_mm + 0.5, 0, 1) * breast
    _blend(signal, _BLOOD, occupancy)
    _blend(enhancement, strength[tuple(nearest)], occupancy)


def _grow_tumor(generator, breast, points_mm, spacing_mm, tumor_shape) -> np.ndarray:
    """Return the mask of a tumor anywhere in the breast."""
    depth_mm = ndimage.distance_transform_edt(breast, sampling=spacing_mm)
    smallest, largest = _TUMOUR_RADIUS_MM
    radius_mm = generator.uniform(smallest, max(smallest, min(largest, 0.85 * depth_mm.max())))
    centre = generator.choice(np.argwhere(depth_mm >= min(radius_mm, depth_mm.max())))
    rotation = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    axes_mm = radius_mm * np.exp(generator.uniform(-0.25, 0.25, 3))
    offset = points_mm - np.reshape(centre * spacing_mm, (3, 1, 1, 1))
    offset = np.tensordot(rotation, offset, axes=1) / axes_mm[:, None, None, None]
    distance = _distance_to_arc(offset) if tumor_shape == "curved" else np.linalg.norm(offset, axis=0)

    roughness = generator.uniform(0.12, 0.25) * (0.3 if tumor_shape == "round" else 1.0)
    surface = roughness * _smooth_noise(generator, breast.shape, spacing_mm, 0.35 * radius_mm)
    if tumor_shape == "irregular" and generator.random() < 0.5:
        surface += _spicules(generator, offset, distance)

    # The level set that has the volume of the ball of this radius.
    num_voxels = int(4 / 3 * np.pi * radius_mm**3 / np.prod(spacing_mm))
    level = np.sort((distance - surface)[breast])[min(num_voxels, breast.sum() - 1)]
    mask = ndimage.binary_fill_holes(breast & (distance - surface < level))
    components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return components == 1 + np.argmax(np.bincount(components.ravel())[1:])


def _spicules(generator, offset, distance) -> np.ndarray:
    height = np.zeros(distance.shape)
    for _ in range(generator.integers(6, 14)):
        spicule = generator.standard_normal(3)
        cosine = np.tensordot(spicule / np.linalg.norm(spicule), offset, axes=1) / np.maximum(distance, 1e-6)
        height += generator.uniform(0.3, 0.7) * np.exp((cosine - 1) * generator.uniform(20, 50))
    return height


def _distance_to_arc(offset) -> np.ndarray:
    """Return the distance to a third of a circle of radius 1.2 in the plane of the last two coordinates."""
    angles = np.linspace(-np.pi / 3, np.pi / 3, 15)
    arc = np.stack([np.zeros_like(angles), 1.2 * np.sin(angles), 1.2 * np.cos(angles) - 1.0], axis=1)
    return np.min([np.linalg.norm(offset - point.reshape(3, 1, 1, 1), axis=0) for point in arc], axis=0)


def _add_spots(generator, signal, enhancement, breast, tumor, points_mm, spacing_mm) -> None:
    """Paint foci (radius 1.5 to 2.5 mm) and one or two round benign spots (3 to 4.5 mm), 3 mm clear of the tumor."""
    room_mm = ndimage.distance_transform_edt(breast, sampling=spacing_mm)
    if tumor.any():
        room_mm = np.minimum(ndimage.distance_transform_edt(~tumor, sampling=spacing_mm) - 3.0, room_mm)
    benign_mm = generator.uniform(3.0, 4.5, generator.integers(1, 3))
    foci_mm = generator.uniform(1.5, 2.5, generator.integers(3, 9))
    for radius_mm in (*benign_mm, *foci_mm):
        candidates = np.argwhere(room_mm > radius_mm)
        if len(candidates) == 0:
            continue
        centre_mm = np.reshape(generator.choice(candidates) * spacing_mm, (3, 1, 1, 1))
        distance_mm = np.linalg.norm(points_mm - centre_mm, axis=0)
        occupancy = np.clip(radius_mm - distance_mm + 0.5, 0, 1)
        _blend(signal, _LESION, occupancy)
        _blend(enhancement, generator.uniform(0.5, 1.4), occupancy)


def _add_tumor(generator, signal, enhancement, tumor, tumor_kind, spacing_mm) -> None:
    """Paint the tumor with an indistinct margin and the enhancement pattern of its kind."""
    pattern = 1 + 0.08 * _smooth_noise(generator, tumor.shape, spacing_mm, 3.0)
    if tumor_kind == "heterogeneous":
        pattern = np.clip(1 + 0.25 * _smooth_noise(generator, tumor.shape, spacing_mm, 2.5), 0.4, 1.6)
    elif tumor_kind == "rim":
        depth_mm = ndimage.distance_transform_edt(tumor, sampling=spacing_mm)
        core = np.clip((depth_mm - generator.uniform(0.5, 0.65) * depth_mm.max()) / 1.5 + 0.5, 0, 1)
        _blend(pattern, generator.uniform(0.15, 0.45), core)
    occupancy = _blur(tumor.astype(float), generator.uniform(0.5, 1.2), spacing_mm)
    _blend(signal, _LESION * generator.uniform(0.85, 1.1), occupancy)
    strength = generator.uniform(0.45, 0.7) if tumor_kind == "faint" else generator.uniform(0.9, 1.7)
    _blend(enhancement, strength * pattern, occupancy)


def _acquire(generator, phases, spacing_mm) -> list[np.ndarray]:
    """Return the phases as the scanner sees them: partial volume, bias field, Rician noise."""
    bias_field = np.exp(0.15 * _smooth_noise(generator, phases[0].shape, spacing_mm, 30.0))
    sigma = generator.uniform(20.0, 40.0)
    acquired = []
    for phase in phases:
        real = bias_field * _blur(phase, 0.8, spacing_mm) + sigma * generator.standard_normal(phase.shape)
        imaginary = sigma * generator.standard_normal(phase.shape)
        acquired.append(np.hypot(real, imaginary).astype(np.float32))
    return acquired
