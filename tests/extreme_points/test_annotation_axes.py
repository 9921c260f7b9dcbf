"""Clicks and boxes along the axes of a tilted image, of the patient, and of a ROI: nothing of the lesion is cut off."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import array_of, rotation, run, write

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.lesions import read_lesions
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.extreme_points.simulated_clicks import lesions_from_mask
from nnunetv2_simple.images import patient_axes
from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask

SPACING_ZYX = (2.0, 1.1, 0.9)
SHAPE = (21, 37, 43)
CENTRE_MM = np.array([10.3, 18.2, 21.4]) * SPACING_ZYX  # along the image axes z, y, x from the first voxel
RADIUS_MM = 11.0
TUMOUR = {"tumor": 1}


TILTS = {
    "30 z": rotation(30, "z"),
    "30 x": rotation(30, "x"),
    "45 y": rotation(45, "y"),
    "30 x 30 z RAS": np.diag([-1.0, -1.0, 1.0]) @ rotation(30, "x") @ rotation(30, "z"),
    "45 z": rotation(45, "z"),
}


@pytest.fixture(params=TILTS.values(), ids=TILTS.keys())
def image(request):
    return tilted_image(request.param)


def tilted_image(direction, array=None):
    image = sitk.GetImageFromArray(np.zeros(SHAPE, np.uint8) if array is None else array)
    image.SetSpacing(SPACING_ZYX[::-1])
    image.SetOrigin((-12.0, 33.5, 7.0))
    image.SetDirection(np.ravel(direction).tolist())
    return image


def offsets_mm():
    """(z, y, x, 3) along the image axes z, y, x from the centre of the lesion."""
    return np.stack(np.indices(SHAPE), axis=-1) * SPACING_ZYX - CENTRE_MM


def sphere():
    return (offsets_mm() ** 2).sum(axis=-1) <= RADIUS_MM**2


def centre_lps(image):
    return np.array(image.TransformContinuousIndexToPhysicalPoint((CENTRE_MM / SPACING_ZYX)[::-1].tolist()))


def in_coordinates(image, coordinates, voxels_zyx):
    voxels = [[int(v) for v in voxel[::-1]] for voxel in voxels_zyx]
    if coordinates == "voxel":
        return voxels
    signs = (1, 1, 1) if coordinates == "LPS" else (-1, -1, 1)
    return [(np.array(image.TransformIndexToPhysicalPoint(voxel)) * signs).tolist() for voxel in voxels]


def read(folder, image, content, name="case.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    (lesion,) = read_lesions([str(folder / name)], image, case="case", labels=TUMOUR)
    return lesion


def check_box(lesion, mask, *, slack=1.0):
    """All of the lesion lies in its box, whose faces lie up to ``slack`` voxels further out."""
    box = LesionBox(lesion.extreme_points, shape=SHAPE, spacing_mm=SPACING_ZYX, axes=lesion.axes)
    whole = tuple(slice(0, n) for n in SHAPE)
    assert not (mask & ~box.contains(whole)).any()
    axes = np.eye(3) if lesion.axes is None else lesion.axes
    extent_mm = np.ptp(offsets_mm()[mask] @ axes.T, axis=0) + (1 + 2 * slack) * abs(axes) @ SPACING_ZYX
    assert box.contains(whole).sum() * np.prod(SPACING_ZYX) <= np.prod(extent_mm)


def check_axes(lesion, expected):
    if expected is None:
        assert lesion.axes is None
    else:
        np.testing.assert_allclose(lesion.axes, expected, atol=1e-6)


def test_label_image(image, tmp_path):
    array = np.zeros(SHAPE, np.uint8)
    for label, point in enumerate(extreme_points_from_mask(sphere()), start=1):
        array[tuple(point)] = label
    write(tilted_image(np.reshape(image.GetDirection(), (3, 3)), array), tmp_path / "case.nii.gz")
    (lesion,) = read_lesions([str(tmp_path / "case.nii.gz")], image, case="case", labels=TUMOUR)
    check_axes(lesion, None)
    check_box(lesion, sphere())


@pytest.mark.parametrize("form", ["json", "csv", "box", "csv box"])
def test_voxel_coordinates(form, image, tmp_path):
    mask = sphere()
    voxels = extreme_points_from_mask(mask)
    if "box" in form:
        voxels = [np.argwhere(mask).max(axis=0), np.argwhere(mask).min(axis=0)]
    voxels = in_coordinates(image, "voxel", voxels)
    if "csv" in form:
        lesion = read(tmp_path, image, "\n".join(["x,y,z", *("{},{},{}".format(*v) for v in voxels)]), "case.csv")
    else:
        lesion = read(tmp_path, image, {"coordinates": "voxel", "box" if form == "box" else "points": voxels})
    check_axes(lesion, None)
    check_box(lesion, mask)


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
def test_clicks_in_mm(coordinates, image, tmp_path):
    mask = sphere()
    voxels = extreme_points_from_mask(mask, spacing_mm=SPACING_ZYX, axes=patient_axes(image))
    points = in_coordinates(image, coordinates, voxels)
    lesion = read(tmp_path, image, {"coordinates": coordinates, "points": points})
    check_axes(lesion, patient_axes(image))
    check_box(lesion, mask)


def test_box_in_mm(image, tmp_path):
    corners = [(centre_lps(image) + RADIUS_MM * np.array(sign)).tolist() for sign in ((1, -1, 1), (-1, 1, -1))]
    lesion = read(tmp_path, image, {"coordinates": "LPS", "box": corners})
    check_axes(lesion, patient_axes(image))
    check_box(lesion, sphere())


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
@pytest.mark.parametrize("along", ["patient", "image", "neither"])
def test_roi(along, coordinates, image, tmp_path):
    direction = np.reshape(image.GetDirection(), (3, 3))
    edges = {"patient": np.eye(3), "image": direction, "neither": rotation(20, "x") @ rotation(-35, "y")}[along]
    # the first voxel centre lies at the origin, those of the sphere within its radius
    signs = np.diag([1, 1, 1] if coordinates == "LPS" else [-1, -1, 1])
    markup = {"type": "ROI", "coordinateSystem": coordinates, "center": (signs @ centre_lps(image)).tolist()}
    markup |= {"size": [2 * RADIUS_MM] * 3, "orientation": (signs @ edges).ravel().tolist(), "controlPoints": []}
    lesion = read(tmp_path, image, {"markups": [markup]}, "case.mrk.json")
    if along == "neither":
        in_image = (edges.T @ direction)[:, ::-1]  # rows: the edges, in the image's axes z, y, x
        for row in lesion.axes:
            assert np.isclose(abs(in_image @ row).max(), 1, atol=1e-6)
        np.testing.assert_allclose(lesion.axes @ lesion.axes.T, np.eye(3), atol=1e-6)
    else:
        check_axes(lesion, patient_axes(image) if along == "patient" else None)
    check_box(lesion, sphere(), slack=0.5)


def test_edges_of_a_roi_keep_their_lengths(image, tmp_path):
    """An ellipsoid, so that no edge can pass for another."""
    edges, half_mm = rotation(20, "x") @ rotation(-35, "y"), np.array([12.0, 7.0, 10.0])
    direction = np.reshape(image.GetDirection(), (3, 3))
    along_edges = (offsets_mm()[..., ::-1] @ direction.T) @ edges
    markup = {"type": "ROI", "coordinateSystem": "LPS", "center": centre_lps(image).tolist(), "controlPoints": []}
    markup |= {"size": (2 * half_mm).tolist(), "orientation": edges.ravel().tolist()}
    lesion = read(tmp_path, image, {"markups": [markup]}, "case.mrk.json")
    check_box(lesion, ((along_edges / half_mm) ** 2).sum(axis=-1) <= 1, slack=0.5)


def test_simulated_clicks(image):
    (lesion,) = lesions_from_mask(tilted_image(image.GetDirection(), sphere().astype(np.uint8)), labels=TUMOUR)
    check_axes(lesion, patient_axes(image))
    check_box(lesion, sphere())


def elongated(axis):
    """14 mm along a unit vector of the image axes z, y, x, 4 mm across it."""
    along = offsets_mm() @ axis
    return (along / 14) ** 2 + ((offsets_mm() ** 2).sum(axis=-1) - along**2) / 16 <= 1


@pytest.mark.parametrize("coordinates", ["voxel", "LPS"])
@pytest.mark.parametrize("along", ["patient", "image"])
def test_points_that_are_extreme_along_other_axes_were_clicked_along_those(along, coordinates, tmp_path):
    image = tilted_image(rotation(30, "z"))
    axes = patient_axes(image) if along == "patient" else None
    mask = elongated(np.array([0.0, 0.0, 1.0]) if axes is None else axes[2])
    voxels = extreme_points_from_mask(mask, spacing_mm=SPACING_ZYX, axes=axes)
    for order in (range(6), (3, 0, 5, 2, 4, 1)):
        points = [in_coordinates(image, coordinates, voxels)[i] for i in order]
        lesion = read(tmp_path, image, {"coordinates": coordinates, "points": points})
        check_axes(lesion, axes)
        np.testing.assert_array_equal(lesion.extreme_points, voxels)
        check_box(lesion, mask)


def test_names_of_points_may_be_meant_along_the_image_axes(tmp_path):
    image = tilted_image(rotation(30, "z"))
    voxels = extreme_points_from_mask(elongated(np.array([0.0, 0.0, 1.0])))
    points = in_coordinates(image, "LPS", voxels)

    def markup(names):
        control_points = [{"label": name, "position": point} for name, point in zip(names, points, strict=True)]
        return {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control_points}]}

    lesion = read(tmp_path, image, markup(["I", "S", "A", "P", "R", "L"]), "case.mrk.json")
    check_axes(lesion, None)
    with pytest.raises(ValueError, match="'P' is not the posterior-most one: the one named 'A' lies 6.6 mm further"):
        read(tmp_path, image, markup(["I", "S", "P", "A", "R", "L"]), "case.mrk.json")


@pytest.mark.parametrize("coordinates", ["voxel", "LPS"])
def test_the_conversion_keeps_the_axes(coordinates, tmp_path, monkeypatch):
    mask, generator = sphere(), np.random.default_rng(0)
    voxels = (100 + 50 * mask + generator.normal(0, 10, SHAPE)).astype(np.float32)
    image = tilted_image(rotation(30, "z"), voxels)
    axes = None if coordinates == "voxel" else patient_axes(image)
    points = extreme_points_from_mask(mask, spacing_mm=SPACING_ZYX, axes=axes)
    write(image, tmp_path / "images" / "case_0000.nii.gz")
    (tmp_path / "clicks").mkdir()
    content = {"coordinates": coordinates, "points": in_coordinates(image, coordinates, points)}
    (tmp_path / "clicks" / "case.json").write_text(json.dumps(content))
    arguments = ["-i", tmp_path / "images", "-a", tmp_path / "clicks", "-d", 5, "-n", "Axes"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
    folder = tmp_path / "raw" / "Dataset005_Axes"
    (lesion,) = json.loads((folder / "provenance.json").read_text())["cases"]["case"]["lesions"]
    (measures,) = json.loads((folder / "provenance" / "case.json").read_text())["quality"]["lesions"]
    extent_mm = np.ptp(points * SPACING_ZYX @ (np.eye(3) if axes is None else axes).T, axis=0)
    if axes is None:
        assert lesion["axes_zyx"] is None
        extent_mm += SPACING_ZYX
    else:
        np.testing.assert_allclose(lesion["axes_zyx"], axes, atol=1e-6)
        extent_mm += abs(axes) @ SPACING_ZYX
    np.testing.assert_allclose(measures["box_size_mm"], extent_mm)
    label = array_of(folder / "labelsTr" / "case.nii.gz")
    expected = generate_pseudo_mask(voxels, points, spacing_mm=SPACING_ZYX, recipe="robust", axes=axes)
    np.testing.assert_array_equal(label, expected)
