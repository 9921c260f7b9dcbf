import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom

SMALL = {"shape": (20, 40, 36), "spacing_mm": (2.6, 1.4, 1.4)}
MEDIUM = {"shape": (26, 60, 60), "spacing_mm": (3.0, 1.6, 1.6)}
CUBE = np.ones((3, 3, 3))


def volume_mm3(phantom):
    return phantom.tumor.sum() * np.prod(phantom.spacing_mm)


def test_same_seed_gives_identical_phantom():
    first, second = (generate_phantom(np.random.default_rng(5), **SMALL) for _ in range(2))
    for name in ("pre_contrast", "post_contrast", "tumor"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.spacing_mm == second.spacing_mm == SMALL["spacing_mm"]


def test_other_seed_gives_other_phantom():
    first, second = (generate_phantom(np.random.default_rng(seed), **SMALL) for seed in (5, 6))
    assert not np.array_equal(first.post_contrast, second.post_contrast)
    assert not np.array_equal(first.tumor, second.tumor)


def test_successive_draws_from_one_generator_differ():
    generator = np.random.default_rng(5)
    first, second = (generate_phantom(generator, **SMALL) for _ in range(2))
    assert not np.array_equal(first.tumor, second.tumor)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((40, 96, 96), (2.4, 1.2, 1.2)),
        ((23, 61, 48), (3.0, 1.1, 1.7)),
        ((45, 15, 29), (0.9, 2.7, 1.4)),
        ((10, 10, 10), (4.0, 4.0, 4.0)),
    ],
)
def test_grid_types_and_intensities(shape, spacing_mm):
    phantom = generate_phantom(np.random.default_rng(1), shape=shape, spacing_mm=spacing_mm)
    assert phantom.spacing_mm == spacing_mm
    assert phantom.pre_contrast.shape == phantom.post_contrast.shape == phantom.tumor.shape == shape
    assert phantom.pre_contrast.dtype == phantom.post_contrast.dtype == np.float32
    assert phantom.tumor.dtype == np.uint8
    assert set(np.unique(phantom.tumor)) == {0, 1}
    for phase in (phantom.pre_contrast, phantom.post_contrast):
        assert np.isfinite(phase).all()
        assert phase.min() >= 0
        assert 200 < phase.max() < 2500


@pytest.mark.parametrize("seed", range(10))
def test_tumor_is_one_component_in_the_breast_and_plausible(seed):
    phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM)
    tumor = phantom.tumor > 0
    assert ndimage.label(tumor, CUBE)[1] == 1
    # Outermost voxel layer free.
    assert tumor[1:-1, 1:-1, 1:-1].sum() == tumor.sum()
    # Balls of radius 6 and 16 mm have 905 and 17157 mm^3; pieces cut off by the largest-component step may be missing.
    assert 0.8 * 905 < volume_mm3(phantom) < 1.1 * 17157
    # Tissue everywhere: air, with the noise alone, stays below 100 after smoothing.
    smoothed = ndimage.gaussian_filter(phantom.pre_contrast, 1)
    assert smoothed[tumor].min() > 100 > np.median(smoothed[:, 0])


@pytest.mark.parametrize("seed", range(10))
def test_tumor_enhances_more_than_its_surrounding(seed):
    phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM)
    enhancement = phantom.post_contrast - phantom.pre_contrast
    distance_mm = ndimage.distance_transform_edt(phantom.tumor == 0, sampling=phantom.spacing_mm)
    surrounding = (distance_mm > 0) & (distance_mm < 8)
    assert enhancement[phantom.tumor > 0].mean() > 1.5 * enhancement[surrounding].mean()


@pytest.mark.parametrize("seed", range(4))
def test_core_of_rim_tumor_is_darker_than_its_shell(seed):
    contrast = {}
    for kind in ("homogeneous", "rim"):
        phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM, tumor_kind=kind)
        enhancement = phantom.post_contrast - phantom.pre_contrast
        depth_mm = ndimage.distance_transform_edt(phantom.tumor, sampling=phantom.spacing_mm)
        depth = depth_mm / depth_mm.max()
        contrast[kind] = enhancement[depth > 0.8].mean() / enhancement[(depth > 0.2) & (depth < 0.5)].mean()
    assert contrast["rim"] < 0.8 < contrast["homogeneous"]


def test_heterogeneous_tumor_varies_more_than_homogeneous():
    spread = {}
    for kind in ("homogeneous", "heterogeneous"):
        spread[kind] = []
        for seed in range(4):
            phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM, tumor_kind=kind)
            inner = ndimage.binary_erosion(phantom.tumor, CUBE)
            smoothed = ndimage.gaussian_filter(phantom.post_contrast - phantom.pre_contrast, 0.7)
            spread[kind].append(smoothed[inner].std() / smoothed[inner].mean())
    assert np.mean(spread["heterogeneous"]) > 1.2 * np.mean(spread["homogeneous"])


def test_subtraction_is_not_enough_to_find_the_tumor():
    dice = []
    for seed in range(4):
        phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM, tumor_kind="heterogeneous")
        order = np.argsort(phantom.pre_contrast - phantom.post_contrast, axis=None)
        overlap = np.cumsum(phantom.tumor.ravel()[order], dtype=int)
        dice.append(np.max(2 * overlap / (np.arange(1, order.size + 1) + phantom.tumor.sum())))
    assert np.mean(dice) < 0.85


def test_too_small_volume_raises_naming_the_shape():
    with pytest.raises(ValueError, match=r"too small.*\(10, 96, 96\)"):
        generate_phantom(np.random.default_rng(0), shape=(10, 96, 96))


@pytest.mark.parametrize("spacing_mm", [(0.0, 1.2, 1.2), (-2.4, 1.2, 1.2), (2.4, 1.2, 5.1), (2.4, float("nan"), 1.2)])
def test_spacing_out_of_range_raises(spacing_mm):
    with pytest.raises(ValueError, match="spacing_mm must lie in"):
        generate_phantom(np.random.default_rng(0), spacing_mm=spacing_mm)


def test_wrong_number_of_axes_raises():
    with pytest.raises(ValueError, match=r"three entries.*\(96, 96\)"):
        generate_phantom(np.random.default_rng(0), shape=(96, 96))


def test_unknown_kind_raises():
    with pytest.raises(ValueError, match="tumor_kind must be one of .* got 'benign'"):
        generate_phantom(np.random.default_rng(0), tumor_kind="benign")


def test_faint_tumor_enhances_less_than_homogeneous_but_more_than_its_surrounding():
    enhancement = {}
    for kind in ("homogeneous", "faint"):
        for seed in range(4):
            phantom = generate_phantom(np.random.default_rng(seed), **MEDIUM, tumor_kind=kind)
            difference = phantom.post_contrast - phantom.pre_contrast
            inner = ndimage.binary_erosion(phantom.tumor, CUBE)
            shell = ndimage.binary_dilation(phantom.tumor, CUBE, iterations=3) & (phantom.tumor == 0)
            enhancement.setdefault(kind, []).append((difference[inner].mean(), difference[shell].mean()))
    faint, homogeneous = np.array(enhancement["faint"]), np.array(enhancement["homogeneous"])
    assert faint[:, 0].mean() < 0.7 * homogeneous[:, 0].mean()
    assert (faint[:, 0] > faint[:, 1]).all()


def test_shapes_differ_in_how_much_they_are_like_a_ball():
    sphericity = {}
    for shape in ("round", "irregular", "curved"):
        for seed in range(6):
            tumor = generate_phantom(np.random.default_rng(seed), **MEDIUM, tumor_shape=shape).tumor > 0
            offset_mm = (np.argwhere(tumor) - np.argwhere(tumor).mean(axis=0)) * MEDIUM["spacing_mm"]
            ball_radius_mm = (3 * len(offset_mm) * np.prod(MEDIUM["spacing_mm"]) / (4 * np.pi)) ** (1 / 3)
            reach_mm = np.linalg.norm(offset_mm, axis=1).max()
            sphericity.setdefault(shape, []).append(ball_radius_mm / reach_mm)
    mean = {shape: np.mean(values) for shape, values in sphericity.items()}
    assert mean["round"] > 1.1 * mean["irregular"]
    assert mean["round"] > 1.2 * mean["curved"]


def test_unknown_shape_raises():
    with pytest.raises(ValueError, match="tumor_shape must be one of .* got 'square'"):
        generate_phantom(np.random.default_rng(0), tumor_shape="square")


def test_written_phantom_keeps_its_voxels_and_geometry(tmp_path):
    phantom = generate_phantom(np.random.default_rng(5), **SMALL)
    write_phantom(phantom, tmp_path, "case", origin_mm=(10.0, -20.0, 30.0))
    files = {
        "images/case_0000.nii.gz": phantom.pre_contrast,
        "images/case_0001.nii.gz": phantom.post_contrast,
        "masks/case.nii.gz": phantom.tumor,
    }
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.glob("*/*")} == files.keys()
    for file, array in files.items():
        image = sitk.ReadImage(str(tmp_path / file))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
        np.testing.assert_allclose(image.GetSpacing(), SMALL["spacing_mm"][::-1], rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), (10, -20, 30))


def test_a_breast_has_as_many_tumors_as_asked_for():
    none, two = (
        generate_phantom(np.random.default_rng(5), shape=(20, 44, 40), spacing_mm=(3.0, 1.6, 1.6), num_tumors=number)
        for number in (0, 2)
    )
    assert not none.tumor.any() and two.tumor.any()
    with pytest.raises(ValueError, match="-1"):
        generate_phantom(np.random.default_rng(5), shape=(20, 44, 40), spacing_mm=(3.0, 1.6, 1.6), num_tumors=-1)
