import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_simple.annotations import read_extreme_points

SIZE_XYZ = (14, 17, 11)
VOXELS_XYZ = [[7, 8, 2], [6, 9, 9], [5, 1, 4], [8, 15, 5], [2, 7, 6], [12, 8, 7]]  # z_min z_max y_min y_max x_min x_max
EXPECTED_ZYX = [[2, 8, 7], [9, 9, 6], [4, 1, 5], [5, 15, 8], [6, 7, 2], [7, 8, 12]]


@pytest.fixture
def image():
    """Oblique, away from the origin, anisotropic."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.2, -0.3, 0.5)
    image = sitk.Image(SIZE_XYZ, sitk.sitkFloat32)
    image.SetSpacing((0.8, 1.3, 3.1))
    image.SetOrigin((-51.5, 23.25, 101.0))
    image.SetDirection(rotation.GetMatrix())
    return image


@pytest.fixture
def write(tmp_path):
    def write_annotation(content):
        file = tmp_path / "case_007.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(file)

    return write_annotation


def to_lps_mm(image, voxel):
    """Origin + direction * (spacing * index), written out."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    return np.array(image.GetOrigin()) + direction @ (np.array(image.GetSpacing()) * voxel)


def in_coordinates(image, coordinates, points):
    if coordinates == "voxel":
        return points
    lps = [to_lps_mm(image, point) for point in points]
    return [(p * ((1, 1, 1) if coordinates == "LPS" else (-1, -1, 1))).tolist() for p in lps]


@pytest.mark.parametrize("coordinates", ["voxel", "LPS", "RAS"])
def test_all_coordinates_give_the_same_voxels(coordinates, image, write):
    points = in_coordinates(image, coordinates, VOXELS_XYZ)
    result = read_extreme_points(write({"coordinates": coordinates, "points": points}), image)
    np.testing.assert_array_equal(result, EXPECTED_ZYX)
    assert np.issubdtype(result.dtype, np.integer)


@pytest.mark.parametrize("coordinates", ["voxel", "LPS", "RAS"])
def test_points_come_in_any_order(coordinates, image, write):
    points = in_coordinates(image, coordinates, [VOXELS_XYZ[i] for i in (3, 0, 5, 2, 4, 1)])
    result = read_extreme_points(write({"coordinates": coordinates, "points": points}), image)
    np.testing.assert_array_equal(result, EXPECTED_ZYX)


@pytest.mark.parametrize("coordinates", ["voxel", "LPS", "RAS"])
def test_point_belongs_to_the_voxel_around_it(coordinates, image, write):
    shifted = (np.array(VOXELS_XYZ) + (0.4, -0.4, 0.3)).tolist()
    points = in_coordinates(image, coordinates, shifted)
    result = read_extreme_points(write({"coordinates": coordinates, "points": points}), image)
    np.testing.assert_array_equal(result, EXPECTED_ZYX)


@pytest.mark.parametrize("coordinates", ["voxel", "LPS", "RAS"])
def test_voxels_on_the_image_border_are_legal(coordinates, image, write):
    last = [n - 1 for n in SIZE_XYZ]
    voxels = [[3, 4, 0], [3, 4, last[2]], [3, 0, 4], [3, last[1], 4], [0, 4, 4], [last[0], 4, 4]]
    points = in_coordinates(image, coordinates, voxels)
    result = read_extreme_points(write({"coordinates": coordinates, "points": points}), image)
    np.testing.assert_array_equal(result, np.array(voxels)[:, ::-1])


def test_additional_keys_are_allowed(image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ, "annotator": "A"})
    np.testing.assert_array_equal(read_extreme_points(file, image), EXPECTED_ZYX)


def with_point(point):
    return {"coordinates": "voxel", "points": [*VOXELS_XYZ[:5], point]}


BAD = {
    "no JSON": "{coordinates: voxel",
    "empty file": "",
    "list": VOXELS_XYZ,
    "number": "7",
    "null": "null",
    "no coordinates": {"points": VOXELS_XYZ},
    "no points": {"coordinates": "voxel"},
    "unknown coordinates": {"coordinates": "ras", "points": VOXELS_XYZ},
    "coordinates of another type": {"coordinates": ["LPS"], "points": VOXELS_XYZ},
    "five points": {"coordinates": "voxel", "points": VOXELS_XYZ[:5]},
    "seven points": {"coordinates": "voxel", "points": [*VOXELS_XYZ, VOXELS_XYZ[0]]},
    "no point": {"coordinates": "voxel", "points": []},
    "points null": {"coordinates": "voxel", "points": None},
    "points an object": {"coordinates": "voxel", "points": {"a": 1}},
    "two coordinates": {"coordinates": "voxel", "points": [p[:2] for p in VOXELS_XYZ]},
    "ragged points": with_point([1, 2]),
    "text instead of a number": with_point([1, 2, "three"]),
    "null instead of a number": with_point([1, 2, None]),
    "NaN": with_point([1, 2, float("nan")]),
    "infinity": with_point([1, 2, float("inf")]),
    "beyond the last voxel": with_point([14, 8, 7]),
    "before the first voxel": with_point([2, -1, 7]),
    "far outside": with_point([2, 8, 1e12]),
    "millimetres far from the image": {"coordinates": "LPS", "points": VOXELS_XYZ},
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_bad_annotation_is_refused_naming_the_file(content, image, write):
    file = write(content)
    with pytest.raises(ValueError, match=r"case_007\.json"):
        read_extreme_points(file, image)


def test_missing_file_is_refused_naming_it(image, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json"):
        read_extreme_points(str(tmp_path / "nowhere.json"), image)


def test_binary_file_is_refused_naming_it(image, tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"binary\.json"):
        read_extreme_points(str(tmp_path / "binary.json"), image)


def test_message_about_a_point_outside_shows_the_point_and_the_size(image, write):
    with pytest.raises(ValueError, match=r"1 of 6 points.*\(14, 17, 11\).*\[14, 8, 7\]"):
        read_extreme_points(write(with_point([14, 8, 7])), image)
