import csv
import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import rotation

from nnunetv2_simple.extreme_points.annotation_files import find_annotations
from nnunetv2_simple.extreme_points.lesions import Lesion, annotation_warnings, read_lesions
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask, sort_extreme_points
from nnunetv2_simple.extreme_points.simulated_clicks import MERGE_DISTANCE_MM, lesions_from_mask
from nnunetv2_simple.images import patient_axes, spacing_zyx_mm

SIZE_XYZ = (14, 17, 11)
SPACING_XYZ = (0.8, 1.3, 3.1)
ORIGIN = (-51.5, 23.25, 101.0)
VOXELS_XYZ = [[7, 8, 2], [6, 9, 9], [5, 1, 4], [8, 15, 5], [2, 7, 6], [12, 8, 7]]  # z_min z_max y_min y_max x_min x_max
EXPECTED_ZYX = [[2, 8, 7], [9, 9, 6], [4, 1, 5], [5, 15, 8], [6, 7, 2], [7, 8, 12]]
BOX_XYZ = [[2, 11, 4], [12, 1, 9]]  # opposite corners; centre (7, 6, 6.5)
TUMOUR = {"tumor": 1}
CLASSES = {"tumor": 1, "node": 2, "T1": 5}


DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "PIR": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),  # x to posterior (+y), y to inferior (-z), z to right (-x)
    "oblique": rotation(20, "x"),
    "oblique RAS": np.diag([-1.0, -1.0, 1.0]) @ rotation(20, "y"),
}


def make_image(direction, *, size=SIZE_XYZ, spacing=SPACING_XYZ, origin=ORIGIN):
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.ravel(direction).tolist())
    return image


@pytest.fixture(params=DIRECTIONS.values(), ids=DIRECTIONS.keys())
def image(request):
    """Away from the origin, anisotropic."""
    return make_image(request.param)


@pytest.fixture
def lps_image():
    return make_image(np.eye(3))


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="case_007.json"):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(file)

    return write_file


@pytest.fixture
def write_label_image(tmp_path):
    def write_image(array, image, name="case_007.nii.gz"):
        result = sitk.GetImageFromArray(array)
        result.CopyInformation(image)
        sitk.WriteImage(result, str(tmp_path / name))
        return str(tmp_path / name)

    return write_image


def to_lps_mm(image, voxel):
    """Origin + direction * (spacing * index), written out."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    return np.array(image.GetOrigin()) + direction @ (np.array(image.GetSpacing()) * voxel)


def in_coordinates(image, coordinates, points):
    if coordinates == "voxel":
        return points
    lps = [to_lps_mm(image, point) for point in points]
    return [(p * ((1, 1, 1) if coordinates == "LPS" else (-1, -1, 1))).tolist() for p in lps]


def slicer_points(image, points=VOXELS_XYZ, *, coordinates="LPS", names=None, **more):
    """What 3D Slicer 5 writes for a point list."""
    names = names or [f"F-{number}" for number in range(1, len(points) + 1)]
    return {
        "type": "Fiducial",
        "coordinateSystem": coordinates,
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "controlPoints": [
            {
                "id": str(number),
                "label": name,
                "description": "",
                "associatedNodeID": "vtkMRMLScalarVolumeNode1",
                "position": position,
                "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
            for number, (name, position) in enumerate(
                zip(names, in_coordinates(image, coordinates, points), strict=True), start=1
            )
        ],
        "measurements": [],
        "display": {"visibility": True, "opacity": 1.0},
    } | more


def slicer_roi(centre, size, orientation, *, coordinates="LPS", **more):
    return {
        "type": "ROI",
        "coordinateSystem": coordinates,
        "coordinateUnits": "mm",
        "roiType": "Box",
        "center": list(centre),
        "orientation": np.ravel(orientation).tolist(),
        "size": list(size),
        "insideOut": False,
        "controlPoints": [],
    } | more


def slicer(*markups):
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    return {"@schema": schema + "markups-schema-v1.0.3.json#", "markups": list(markups)}


def csv_text(columns, rows, *, separator=","):
    return "\n".join(separator.join(str(value) for value in row) for row in [columns, *rows]) + "\n"


def fcsv_text(positions, coordinates, *, names=None, ending=""):
    """What 3D Slicer 4.11 writes for a point list; version 5 writes ",2,0" behind each row."""
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    header = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {coordinates}\n# columns = {columns}\n"
    names = names or [f"F-{number}" for number in range(1, len(positions) + 1)]
    return header + "".join(
        f"vtkMRMLMarkupsFiducialNode_{number},{x},{y},{z},0,0,0,1,1,1,0,{name},,vtkMRMLScalarVolumeNode1{ending}\n"
        for number, (name, (x, y, z)) in enumerate(zip(names, positions, strict=True))
    )


def read(file, image, labels=TUMOUR, case="case_007"):
    return read_lesions([file], image, case=case, labels=labels)


def read_one(file, image, labels=TUMOUR, case="case_007"):
    (lesion,) = read(file, image, labels, case)
    return lesion


# ---- points, in every format and orientation


def annotation_in(file_format, image, points):
    """Return name and content of a file."""
    kind, coordinates = file_format.split()
    positions = in_coordinates(image, coordinates, points)
    if kind == "json":
        return "case_007.json", {"coordinates": coordinates, "points": positions}
    if kind == "lesions":
        return "case_007.json", {"coordinates": coordinates, "lesions": [{"points": positions}]}
    if kind == "slicer":
        return "case_007.mrk.json", slicer(slicer_points(image, points, coordinates=coordinates))
    if kind == "fcsv":
        return "case_007.fcsv", fcsv_text(positions, coordinates)
    if coordinates == "voxel":
        return "case_007.csv", csv_text(("x", "y", "z"), positions)
    return "case_007.csv", csv_text(
        ("coordinates", "x_mm", "y_mm", "z_mm"), [[coordinates, *position] for position in positions]
    )


FORMATS = (
    "json voxel",
    "json LPS",
    "json RAS",
    "lesions voxel",
    "lesions LPS",
    "slicer LPS",
    "slicer RAS",
    "csv voxel",
    "csv LPS",
    "csv RAS",
    "fcsv LPS",
    "fcsv RAS",
)


@pytest.mark.parametrize("file_format", FORMATS)
def test_all_formats_and_orientations_give_the_same_voxels(file_format, image, write):
    name, content = annotation_in(file_format, image, VOXELS_XYZ)
    lesion = read_one(write(content, name), image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)
    assert np.issubdtype(lesion.extreme_points.dtype, np.integer)
    assert (lesion.label, lesion.source) == (1, "extreme points")
    assert lesion.file.endswith(name)


@pytest.mark.parametrize("file_format", FORMATS)
def test_points_come_in_any_order(file_format, image, write):
    for permutation in ((3, 0, 5, 2, 4, 1), (5, 4, 3, 2, 1, 0), (1, 0, 3, 2, 5, 4)):
        name, content = annotation_in(file_format, image, [VOXELS_XYZ[i] for i in permutation])
        np.testing.assert_array_equal(read_one(write(content, name), image).extreme_points, EXPECTED_ZYX)


@pytest.mark.parametrize("file_format", FORMATS)
def test_point_belongs_to_the_voxel_around_it(file_format, image, write):
    shifted = (np.array(VOXELS_XYZ) + (0.4, -0.4, 0.3)).tolist()
    name, content = annotation_in(file_format, image, shifted)
    np.testing.assert_array_equal(read_one(write(content, name), image).extreme_points, EXPECTED_ZYX)


@pytest.mark.parametrize("file_format", FORMATS)
def test_voxels_on_the_image_border_are_legal(file_format, write):
    image = make_image(DIRECTIONS["PIR"])
    last = [n - 1 for n in SIZE_XYZ]
    voxels = [[3, 4, 0], [3, 4, last[2]], [3, 0, 4], [3, last[1], 4], [0, 4, 4], [last[0], 4, 4]]
    name, content = annotation_in(file_format, image, voxels)
    np.testing.assert_array_equal(read_one(write(content, name), image).extreme_points, np.array(voxels)[:, ::-1])


@pytest.mark.parametrize("file_format", [f for f in FORMATS if "voxel" not in f])
def test_mm_up_to_half_a_voxel_outside_are_the_border_voxel(file_format, image, write):
    # the image reaches half a voxel beyond the centres 0 and 13; the click may be half a voxel further out
    points = [*VOXELS_XYZ[:4], [-0.95, 7, 6], [13.95, 8, 7]]
    name, content = annotation_in(file_format, image, points)
    result = read_one(write(content, name), image).extreme_points
    np.testing.assert_array_equal(result, [*EXPECTED_ZYX[:4], [6, 7, 0], [7, 8, 13]])


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("point", [[14.1, 8, 7], [7, -1.1, 7], [7, 8, 11.2]])
def test_point_further_outside_is_refused(file_format, point, image, write):
    name, content = annotation_in(file_format, image, [*VOXELS_XYZ[:5], point])
    expected = [int(np.rint(v)) for v in point]
    with pytest.raises(ValueError, match=r"1 of 6 points.*\(14, 17, 11\)") as error:
        read(write(content, name), image)
    assert str(expected) in str(error.value)


def test_voxel_index_beyond_the_last_is_refused_though_the_same_in_mm_is_not(lps_image, write):
    points = [*VOXELS_XYZ[:5], [13.8, 8, 7]]
    with pytest.raises(ValueError, match="1 of 6 points"):
        read(write({"coordinates": "voxel", "points": points}), lps_image)
    mm = in_coordinates(lps_image, "LPS", points)
    assert read_one(write({"coordinates": "LPS", "points": mm}), lps_image).extreme_points[5, 2] == 13


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("file_format", ["slicer LPS", "slicer RAS", "csv RAS"])
def test_clicks_along_the_patient_axes_of_an_ellipsoid_come_back(file_format, seed, image, write):
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE_XYZ[::-1]), indexing="ij"), axis=-1)
    centre_mm = (np.array(SIZE_XYZ[::-1]) - 1) / 2 * SPACING_XYZ[::-1]
    offset_mm = grid * SPACING_XYZ[::-1] - centre_mm
    mask = (offset_mm**2 @ (1 / generator.uniform(4, 5, 3) ** 2)) <= 1
    points = extreme_points_from_mask(mask, spacing_mm=spacing_zyx_mm(image), axes=patient_axes(image))
    shuffled = generator.permutation(points)[:, ::-1].tolist()
    name, content = annotation_in(file_format, image, shuffled)
    expected = sort_extreme_points(
        np.array(shuffled)[:, ::-1], spacing_mm=spacing_zyx_mm(image), axes=patient_axes(image)
    )
    np.testing.assert_array_equal(read_one(write(content, name), image).extreme_points, expected)


def test_points_are_extreme_along_the_patient_axes_of_an_oblique_image(write):
    """An image turned by 20 degrees, points 5 mm from the centre along the patient axes.

    By hand: the left-most point lies at (5 cos 20, -5 sin 20) = (4.70, -1.71) from the centre in image axes, the
    posterior-most at (5 sin 20, 5 cos 20) = (1.71, 4.70).
    """
    image = make_image(rotation(20, "z"), size=(21, 21, 21), spacing=(1.0, 1.0, 1.0), origin=(3.0, -2.0, 7.0))
    centre = to_lps_mm(image, [10, 10, 10])
    points = [(centre + 5 * sign * np.eye(3)[axis]).tolist() for axis in (1, 0, 2) for sign in (1, -1)]
    lesion = read_one(write({"coordinates": "LPS", "points": points}), image)
    expected_xyz = [[10, 10, 5], [10, 10, 15], [8, 5, 10], [12, 15, 10], [5, 12, 10], [15, 8, 10]]
    np.testing.assert_array_equal(lesion.extreme_points, np.array(expected_xyz)[:, ::-1])


def test_no_point_of_a_flat_lesion_clicked_along_the_axes_of_an_oblique_image_is_lost(write):
    image = make_image(rotation(20, "y"), size=(61, 41, 21), spacing=(1.0, 1.0, 1.0))
    # along the patient's axes x_min and x_max lie further inferior and superior than z_min and z_max
    voxels = [[30, 20, 8], [30, 20, 12], [30, 5, 10], [30, 35, 10], [5, 20, 10], [55, 20, 10]]
    for permutation in ((0, 1, 2, 3, 4, 5), (5, 2, 0, 4, 1, 3)):
        lesion = read_one(write({"coordinates": "voxel", "points": [voxels[i] for i in permutation]}), image)
        np.testing.assert_array_equal(lesion.extreme_points, np.array(voxels)[:, ::-1])


def test_additional_keys_and_columns_are_allowed(lps_image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ, "annotator": "A"})
    np.testing.assert_array_equal(read_one(file, lps_image).extreme_points, EXPECTED_ZYX)
    file = write(csv_text(("reader", "x", "y", "z"), [["A", *point] for point in VOXELS_XYZ]), "case_007.csv")
    np.testing.assert_array_equal(read_one(file, lps_image).extreme_points, EXPECTED_ZYX)


# ---- 3D Slicer


@pytest.mark.parametrize(("code", "coordinates"), [("0", "RAS"), (0, "RAS"), ("1", "LPS"), (1, "LPS")])
def test_slicers_older_codes_of_the_coordinate_system(code, coordinates, image, write):
    markup = slicer_points(image, coordinates=coordinates) | {"coordinateSystem": code}
    np.testing.assert_array_equal(read_one(write(slicer(markup)), image).extreme_points, EXPECTED_ZYX)


def test_slicer_means_lps_where_no_coordinate_system_is_named(image, write):
    markup = slicer_points(image)
    del markup["coordinateSystem"]
    np.testing.assert_array_equal(read_one(write(slicer(markup)), image).extreme_points, EXPECTED_ZYX)


def test_slicers_undefined_control_points_are_skipped(image, write):
    markup = slicer_points(image)
    blank = markup["controlPoints"][0]
    markup["controlPoints"][2:2] = [
        blank | {"position": "", "positionStatus": "undefined"},
        blank | {"position": [1e6, 0, 0], "positionStatus": "preview"},
        {key: value for key, value in blank.items() if key != "position"},
    ]
    del markup["controlPoints"][0]["positionStatus"]  # defined by default
    np.testing.assert_array_equal(read_one(write(slicer(markup)), image).extreme_points, EXPECTED_ZYX)
    markup["controlPoints"][1]["positionStatus"] = "undefined"
    with pytest.raises(ValueError, match="six control points.*got 5"):
        read(write(slicer(markup)), image)


PATIENT_NAMES = {  # what z_min z_max y_min y_max x_min x_max of the image are to the patient
    "LPS": ["I", "S", "A", "P", "R", "L"],
    "RAS": ["I", "S", "P", "A", "L", "R"],
    "PIR": ["L", "R", "S", "I", "A", "P"],
    "oblique": ["I", "S", "A", "P", "R", "L"],
    "oblique RAS": ["I", "S", "P", "A", "L", "R"],
}
LONG_NAMES = {
    "I": "inferior",
    "S": "Superior-most",
    "A": "anterior",
    "P": "posterior most",
    "R": "right",
    "L": " Left ",
}


@pytest.mark.parametrize("orientation", DIRECTIONS)
@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
@pytest.mark.parametrize("long", [False, True])
def test_names_of_points_that_fit_the_geometry_are_accepted(orientation, coordinates, long, write):
    image = make_image(DIRECTIONS[orientation])
    names = [LONG_NAMES[name] if long else name for name in PATIENT_NAMES[orientation]]
    markup = slicer_points(image, coordinates=coordinates, names=names)
    np.testing.assert_array_equal(read_one(write(slicer(markup)), image).extreme_points, EXPECTED_ZYX)


@pytest.mark.parametrize("orientation", DIRECTIONS)
@pytest.mark.parametrize("long", [False, True])
def test_names_of_points_that_contradict_the_geometry_are_refused(orientation, long, write):
    image = make_image(DIRECTIONS[orientation])
    fitting = [LONG_NAMES[name] if long else name for name in PATIENT_NAMES[orientation]]
    for first, second in itertools.combinations(range(6), 2):
        names = list(fitting)
        names[first], names[second] = names[second], names[first]
        with pytest.raises(ValueError, match=r"case_007\.mrk\.json.*is not the (left|right|a|p|i|s)") as error:
            read(write(slicer(slicer_points(image, names=names)), "case_007.mrk.json"), image)
        assert repr(names[first]) in str(error.value) or repr(names[second]) in str(error.value)


def test_a_single_name_is_checked_too(lps_image, write):
    names = ["F-1", "F-2", "F-3", "L", "F-5", "F-6"]
    with pytest.raises(ValueError, match=r"'L' is not the left-most.*'F-6' lies 3\.2 mm further left"):  # 4 x 0.8 mm
        read(write(slicer(slicer_points(lps_image, names=names))), lps_image)


def test_points_called_a_to_f_are_no_directions(lps_image, write):
    lesion = read_one(write(slicer(slicer_points(lps_image, names=list("FEDCBA")))), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)


def test_a_named_point_may_miss_the_extreme_by_one_voxel(lps_image, write):
    points = [list(point) for point in VOXELS_XYZ]
    points[3][0] = 13  # the posterior-most click lies one voxel further left than the left-most one
    names = PATIENT_NAMES["LPS"]
    assert read_one(write(slicer(slicer_points(lps_image, points, names=names))), lps_image).extreme_points[5, 2] == 13
    points[5][0] = 11
    with pytest.raises(ValueError, match="'L' is not the left-most"):
        read(write(slicer(slicer_points(lps_image, points, names=names))), lps_image)


def test_one_voxel_is_measured_along_the_direction_of_the_name(write):
    image = make_image(DIRECTIONS["PIR"])
    points = [list(point) for point in VOXELS_XYZ]
    points[3][2] = 1  # one slice of 3.1 mm further left than the point named so
    lesion = read_one(write(slicer(slicer_points(image, points, names=PATIENT_NAMES["PIR"]))), image)
    assert lesion.extreme_points[:, 0].min() == 1


def test_several_markups_are_several_lesions(image, write):
    moved = [[x, y - 1, z + 1] for x, y, z in VOXELS_XYZ]
    file = write(slicer(slicer_points(image), slicer_points(image, moved, type="PointList")), "case_007.mrk.json")
    first, second = read(file, image)
    np.testing.assert_array_equal(first.extreme_points, EXPECTED_ZYX)
    np.testing.assert_array_equal(second.extreme_points, np.array(EXPECTED_ZYX) + (1, -1, 0))


# ---- the older .fcsv of 3D Slicer


@pytest.mark.parametrize(("code", "coordinates"), [("0", "RAS"), ("1", "LPS")])
def test_fcsv_of_older_versions_numbers_the_coordinate_systems(code, coordinates, image, write):
    content = fcsv_text(in_coordinates(image, coordinates, VOXELS_XYZ), code)
    np.testing.assert_array_equal(read_one(write(content, "case_007.fcsv"), image).extreme_points, EXPECTED_ZYX)


def test_fcsv_columns_are_those_its_header_names(lps_image, write):
    rows = [f"{z},{y},{x},name" for x, y, z in in_coordinates(lps_image, "LPS", VOXELS_XYZ)]
    content = "\r\n".join(["# CoordinateSystem = LPS", "# columns = z,y,x,label", *rows, "", ""])
    np.testing.assert_array_equal(read_one(write(content, "case_007.fcsv"), lps_image).extreme_points, EXPECTED_ZYX)
    rows = [f"1,{x},{y},{z}" for x, y, z in in_coordinates(lps_image, "LPS", VOXELS_XYZ)]
    content = "\n".join(["# CoordinateSystem = LPS", *rows])
    np.testing.assert_array_equal(read_one(write(content, "case_007.fcsv"), lps_image).extreme_points, EXPECTED_ZYX)


def test_fcsv_points_that_were_never_placed_are_skipped(lps_image, write):
    content = fcsv_text(in_coordinates(lps_image, "LPS", VOXELS_XYZ), "LPS", ending=",2,0")
    content += "7,0,0,0,0,0,0,1,1,1,0,F-7,,,0,0\n8,0,0,0,0,0,0,1,1,1,0,F-8,,,1,0\n"
    np.testing.assert_array_equal(read_one(write(content, "case_007.fcsv"), lps_image).extreme_points, EXPECTED_ZYX)


def test_fcsv_of_two_points_is_a_box(lps_image, write):
    content = fcsv_text(in_coordinates(lps_image, "RAS", [[12, 3, 4], [2, 15, 8]]), "RAS")
    lesion = read_one(write(content, "case_007.fcsv"), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    assert lesion.source == "bounding box"


def test_fcsv_names_are_checked_and_its_file_name_names_the_class(lps_image, write):
    positions = in_coordinates(lps_image, "LPS", VOXELS_XYZ)
    content = fcsv_text(positions, "LPS", names=["I", "S", "A", '"P"', "R", "L"])
    assert read_one(write(content, "case_007.node2.fcsv"), lps_image, CLASSES).label == 2
    content = fcsv_text(positions, "LPS", names=["I", "S", "P", "A", "R", "L"])
    with pytest.raises(ValueError, match="'P' is not the posterior-most"):
        read(write(content, "case_007.fcsv"), lps_image)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("# CoordinateSystem = LPS\n", ""), "CoordinateSystem.*LPS or RAS"),
        (("= LPS", "= 2"), "CoordinateSystem.*LPS or RAS, got '2'"),
        (("id,x,y,z,ow", "id,r,a,s,ow"), "columns x, y, z"),
        (("F-6", "F-6,,,0"), "six control points.*got 5"),
        (("vtkMRMLMarkupsFiducialNode_5,", "5,nan,"), "all numbers finite"),
        (("vtkMRMLMarkupsFiducialNode_5,", "5\n"), "a value for each of the columns"),
    ],
)
def test_bad_fcsv_is_refused_naming_case_and_file_and_reason(change, reason, lps_image, write):
    content = fcsv_text(in_coordinates(lps_image, "LPS", VOXELS_XYZ), "LPS")
    assert change[0] in content
    with pytest.raises(ValueError, match=rf"case_007: .*case_007\.fcsv: .*({reason})"):
        read(write(content.replace(*change), "case_007.fcsv"), lps_image)


# ---- tables of control points of 3D Slicer


def slicer_table(image, coordinates, points=VOXELS_XYZ, *, names=None, undefined=(), separator=","):
    """What 3D Slicer 5 exports of a point list; control points that were not placed keep their row."""
    names = names or [f"F-{number}" for number in range(1, len(points) + 1)]
    columns = ("label", *coordinates, "defined", "selected", "visible", "locked", "description")
    axes = {"lps": "LPS", "ras": "RAS"}["".join(coordinates)]
    rows = [[n, *p, 1, 1, 1, 0, ""] for n, p in zip(names, in_coordinates(image, axes, points), strict=True)]
    for place in undefined:
        rows.insert(place, ["F-9", 0, 0, 0, 0, 1, 1, 0, ""])
    return csv_text(columns, rows, separator=separator)


@pytest.mark.parametrize("coordinates", ["lps", "ras"])
@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_slicers_table_of_control_points(coordinates, ending, separator, image, write):
    content = slicer_table(image, coordinates, undefined=(6, 2), separator=separator)
    lesion = read_one(write(content, "case_007" + ending), image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)
    assert lesion.source == "extreme points"


def test_slicers_table_of_two_control_points_is_a_box(lps_image, write):
    lesion = read_one(write(slicer_table(lps_image, "lps", [[12, 3, 4], [2, 15, 8]]), "case_007.csv"), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    assert lesion.source == "bounding box"


def test_labels_of_slicers_table_are_names_of_points_and_no_classes(lps_image, write):
    content = slicer_table(lps_image, "ras", names=["I", "S", "A", "P", "R", "L"])
    assert read_one(write(content, "case_007.node2.csv"), lps_image, CLASSES).label == 2
    content = slicer_table(lps_image, "ras", names=["I", "S", "P", "A", "R", "L"])
    with pytest.raises(ValueError, match="'P' is not the posterior-most"):
        read(write(content, "case_007.csv"), lps_image)


def test_slicers_tables_of_several_cases_in_one_file(lps_image, write):
    header, *rows = slicer_table(lps_image, "lps").splitlines()
    content = "\n".join(["case," + header, *("other," + row for row in rows[:4]), *("case_007," + row for row in rows)])
    np.testing.assert_array_equal(read_one(write(content, "all.csv"), lps_image).extreme_points, EXPECTED_ZYX)


# ---- voxels as ITK-SNAP counts them


@pytest.mark.parametrize("spelling", ["itksnap", "ITK-SNAP"])
@pytest.mark.parametrize("kind", ["json", "csv", "box"])
def test_the_first_voxel_of_itksnap_is_1(kind, spelling, image, write):
    points = (np.array([[2, 3, 4], [12, 15, 8]] if kind == "box" else VOXELS_XYZ) + 1).tolist()
    if kind == "csv":
        file = write(csv_text(("x", "y", "z", "coordinates"), [[*p, spelling] for p in points]), "case_007.csv")
    else:
        file = write({"coordinates": spelling, "box" if kind == "box" else "points": points})
    expected = box_points((2, 3, 4), (12, 15, 8)) if kind == "box" else EXPECTED_ZYX
    lesion = read_one(file, image)
    np.testing.assert_array_equal(lesion.extreme_points, expected)
    assert lesion.axes is None


def test_the_last_voxel_of_itksnap_is_the_size_of_the_image(lps_image, write):
    points = (np.array(VOXELS_XYZ) + 1).tolist()
    points[5][0] = SIZE_XYZ[0]
    lesion = read_one(write({"coordinates": "itksnap", "points": points}), lps_image)
    assert lesion.extreme_points[5].tolist() == [7, 8, 13]


# ---- bounding boxes


def box_points(lower_xyz, upper_xyz):
    """The six face centres of a box of voxels whose sides are of odd length, written out."""
    (x0, y0, z0), (x1, y1, z1) = lower_xyz, upper_xyz
    x, y, z = (x0 + x1) // 2, (y0 + y1) // 2, (z0 + z1) // 2
    return [[z0, y, x], [z1, y, x], [z, y0, x], [z, y1, x], [z, y, x0], [z, y, x1]]


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("kind", ["json", "lesions", "csv", "slicer"])
@pytest.mark.parametrize("coordinates", ["LPS", "RAS", "voxel"])
def test_opposite_corners_are_the_box_between_them(orientation, kind, coordinates, write):
    image = make_image(DIRECTIONS[orientation])
    corners = [[12, 3, 4], [2, 15, 8]]
    positions = in_coordinates(image, coordinates, corners)
    name = "case_007.json"
    if kind == "json":
        content = {"coordinates": coordinates, "box": positions}
    elif kind == "lesions":
        content = {"coordinates": coordinates, "lesions": [{"box": positions}]}
    elif kind == "csv":
        name = "case_007.csv"
        columns = ("x", "y", "z") if coordinates == "voxel" else ("x_mm", "y_mm", "z_mm")
        content = csv_text((*columns, "coordinates"), [[*position, coordinates] for position in positions])
    else:
        coordinates = "RAS" if coordinates == "voxel" else coordinates  # 3D Slicer has none in voxels
        content = slicer(slicer_points(image, corners, coordinates=coordinates, names=["L", "L"]))
    lesion = read_one(write(content, name), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    assert lesion.source == "bounding box"
    assert annotation_warnings(lesion) == []


@pytest.mark.parametrize("first", [2, 3])
def test_corners_midway_between_voxels_mean_the_inner_ones(first, lps_image, write):
    box = [[first - 0.5, 2.5, 3.5], [first + 6.5, 9.5, 8.5]]
    lesion = read_one(write({"coordinates": "voxel", "box": box}), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((first, 3, 4), (first + 6, 9, 8)))


def test_corners_belong_to_the_voxels_around_them(lps_image, write):
    corners = in_coordinates(lps_image, "LPS", [[11.6, 3.4, 4.4], [2.4, 14.6, 7.6]])
    lesion = read_one(write({"coordinates": "LPS", "box": corners}), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, 0.7, 0.95])
def test_roi_holds_the_voxels_whose_centres_it_includes(margin, coordinates, image, write):
    """Drawn along the image axes: from voxel 2 to 12, 3 to 15, 4 to 8, and ``margin`` voxels further."""
    centre = to_lps_mm(image, [7, 9, 6])
    size = (np.array([10, 12, 4]) + 2 * margin) * SPACING_XYZ
    orientation = np.reshape(image.GetDirection(), (3, 3))
    if coordinates == "RAS":
        centre, orientation = centre * (-1, -1, 1), np.diag([-1, -1, 1]) @ orientation
    content = slicer(slicer_roi(centre, size, orientation, coordinates=coordinates))
    lesion = read_one(write(content, "case_007.mrk.json"), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    assert lesion.source == "bounding box"


def test_roi_between_two_slices_is_one_voxel_thick(write):
    image = make_image(np.eye(3), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    lesion = read_one(write(slicer(slicer_roi([7, 9, 6.4], [10, 12, 0.2], np.eye(3)))), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 6), (12, 15, 6)))


def test_edges_of_a_roi_run_along_the_columns_of_its_orientation(write):
    image = make_image(np.eye(3), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    # size[0] along +y, size[1] along +z, size[2] along +x
    columns = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    lesion = read_one(write(slicer(slicer_roi([7, 9, 6], [13, 5, 11], columns))), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))


def test_roi_along_the_patient_axes_of_an_oblique_image(write):
    """Turned by 20 degrees, 10 x 10 x 10 mm round voxel (10, 10, 10) of 1 mm.

    By hand: the left face lies at (5 cos 20, -5 sin 20) = (4.70, -1.71) from the centre in image axes. Half a voxel
    further in it is (4.20, -1.53), and voxel (14, 8). The inferior and superior faces run through voxel centres.
    """
    image = make_image(rotation(20, "z"), size=(21, 21, 21), spacing=(1.0, 1.0, 1.0))
    lesion = read_one(write(slicer(slicer_roi(to_lps_mm(image, [10, 10, 10]), [10, 10, 10], np.eye(3)))), image)
    expected_xyz = [[10, 10, 5], [10, 10, 15], [8, 6, 10], [12, 14, 10], [6, 12, 10], [14, 8, 10]]
    np.testing.assert_array_equal(lesion.extreme_points, np.array(expected_xyz)[:, ::-1])


def test_corners_in_mm_span_a_box_along_the_patient_axes_of_an_oblique_image(write):
    image = make_image(rotation(20, "z"), size=(21, 21, 21), spacing=(1.0, 1.0, 1.0))
    centre = to_lps_mm(image, [10, 10, 10])
    corners = [(centre - (5, -5, 5)).tolist(), (centre + (5, -5, 5)).tolist()]
    lesion = read_one(write({"coordinates": "LPS", "box": corners}), image)
    expected_xyz = [[10, 10, 5], [10, 10, 15], [8, 5, 10], [12, 15, 10], [5, 12, 10], [15, 8, 10]]
    np.testing.assert_array_equal(lesion.extreme_points, np.array(expected_xyz)[:, ::-1])


def test_flat_box_of_voxels_in_an_oblique_image_keeps_its_faces(write):
    image = make_image(rotation(20, "y"), size=(61, 41, 21), spacing=(1.0, 1.0, 1.0))
    lesion = read_one(write({"coordinates": "voxel", "box": [[5, 5, 8], [55, 35, 12]]}), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((5, 5, 8), (55, 35, 12)))


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_roi_fitted_to_the_whole_image_reaches_its_border_voxels(orientation, write):
    image = make_image(DIRECTIONS[orientation])
    centre = to_lps_mm(image, (np.array(SIZE_XYZ) - 1) / 2)
    size = np.array(SIZE_XYZ) * SPACING_XYZ
    lesion = read_one(write(slicer(slicer_roi(centre, size, DIRECTIONS[orientation]))), image)
    np.testing.assert_array_equal(lesion.extreme_points.max(axis=0), [10, 16, 13])
    np.testing.assert_array_equal(lesion.extreme_points.min(axis=0), [0, 0, 0])
    assert annotation_warnings(lesion) == []


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_a_roi_beyond_the_image_is_clipped_and_reported(orientation, write):
    """From voxel (5, 7, -3) to (20, 25, 4), the image ends at (13, 16, 10)."""
    image = make_image(DIRECTIONS[orientation])
    centre, size = to_lps_mm(image, [12.5, 16, 0.5]), np.array([16, 19, 8]) * SPACING_XYZ
    lesion = read_one(write(slicer(slicer_roi(centre, size, DIRECTIONS[orientation]))), image)
    # the centre of what is left: (9, 11.5, 2)
    np.testing.assert_array_equal(lesion.extreme_points[:2], [[0, 12, 9], [4, 12, 9]])
    np.testing.assert_array_equal(lesion.extreme_points[2:4], [[2, 7, 9], [2, 16, 9]])
    np.testing.assert_array_equal(lesion.extreme_points[4:], [[2, 12, 5], [2, 12, 13]])
    (warning,) = annotation_warnings(lesion)
    assert "beyond the image of size (14, 17, 11)" in warning
    assert "clipped" in warning


@pytest.mark.parametrize("coordinates", ["voxel", "LPS", "RAS"])
def test_corners_beyond_the_image_are_clipped_and_reported(coordinates, lps_image, write):
    corners = in_coordinates(lps_image, coordinates, [[-20, 3, 4], [10, 30, 8]])
    lesion = read_one(write({"coordinates": coordinates, "box": corners}), lps_image)
    # from (0, 3, 4) to (10, 16, 8), centre (5, 9.5, 6)
    expected = [[4, 10, 5], [8, 10, 5], [6, 3, 5], [6, 16, 5], [6, 10, 0], [6, 10, 10]]
    np.testing.assert_array_equal(lesion.extreme_points, expected)
    assert ["clipped" in warning for warning in annotation_warnings(lesion)] == [True]


def test_an_oblique_roi_beyond_the_image_keeps_what_lies_in_the_image(write):
    """Turned by 20 degrees in x and y; the part in the image is found voxel by voxel, independently."""
    image = make_image(rotation(20, "z"), size=(21, 21, 21), spacing=(1.0, 1.0, 1.0), origin=(0, 0, 0))
    centre, size = to_lps_mm(image, [18, 10, 19]), np.array([12.0, 10.0, 9.0])
    lesion = read_one(write(slicer(slicer_roi(centre, size, np.eye(3)))), image)
    voxels_xyz = np.array(list(np.ndindex(21, 21, 21)))
    mm = np.array([to_lps_mm(image, voxel) for voxel in voxels_xyz])
    inside = (abs(mm - centre) <= size / 2).all(axis=1)
    clicked_mm = np.array([to_lps_mm(image, voxel[::-1]) for voxel in lesion.extreme_points])
    np.testing.assert_allclose(clicked_mm.min(axis=0), mm[inside].min(axis=0), atol=0.75)
    np.testing.assert_allclose(clicked_mm.max(axis=0), mm[inside].max(axis=0), atol=0.75)
    assert (lesion.extreme_points >= 0).all()
    assert (lesion.extreme_points <= 20).all()
    assert ["clipped" in warning for warning in annotation_warnings(lesion)] == [True]


# ---- the same lesion annotated twice


def boxes(*corners):
    return {"coordinates": "voxel", "lesions": [{"box": box} for box in corners]}


def test_a_lesion_annotated_twice_under_two_names_is_reported(lps_image, write):
    """Sides of 8, 10 and 5 voxels; the second box is one voxel longer in x: 400 of 450 voxels are shared, 89 %."""
    first = write({"coordinates": "voxel", "box": [[2, 3, 4], [9, 12, 8]]}, "case_007.a.json")
    second = write({"coordinates": "voxel", "box": [[2, 3, 4], [10, 12, 8]]}, "case_007.b.json")
    lesions = read_lesions([first, second], lps_image, case="case_007", labels=TUMOUR)
    assert annotation_warnings(lesions[0]) == []
    (warning,) = annotation_warnings(lesions[1])
    assert "89%" in warning
    assert "lesion 1, case_007.a.json" in warning


def test_lesions_beside_each_other_and_in_one_another_are_two(lps_image, write):
    # beside: half of each box is shared, a third of both together
    lesions = read(write(boxes([[0, 3, 4], [5, 12, 8]], [[3, 3, 4], [8, 12, 8]], [[1, 4, 5], [2, 6, 7]])), lps_image)
    assert [annotation_warnings(lesion) for lesion in lesions] == [[], [], []]


def test_older_roi_has_its_centre_as_control_point_and_no_orientation(lps_image, write):
    markup = slicer_roi([0, 0, 0], np.array([11, 13, 5]) * SPACING_XYZ, np.eye(3))
    del markup["center"], markup["orientation"]
    markup["controlPoints"] = [{"position": to_lps_mm(lps_image, [7, 9, 6]).tolist(), "locked": True}]
    lesion = read_one(write(slicer(markup)), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((2, 3, 4), (12, 15, 8)))


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
def test_box_one_voxel_thick_is_legal_and_reported(axis, name, orientation, write):
    image = make_image(DIRECTIONS[orientation])
    lower, upper = [2, 3, 4], [12, 15, 8]
    lower[axis] = upper[axis] = 6
    lesion = read_one(write({"coordinates": "voxel", "box": [lower, upper]}), image)
    np.testing.assert_array_equal(lesion.extreme_points, box_points(lower, upper))
    # drawn along the patient's axes: sizes in the order of the image axes that run along them
    centre, size = to_lps_mm(image, np.add(lower, upper) / 2), (np.subtract(upper, lower) + 0.9) * SPACING_XYZ
    roi = read_one(write(slicer(slicer_roi(centre, abs(DIRECTIONS[orientation]) @ size, np.eye(3)))), image)
    np.testing.assert_array_equal(roi.extreme_points, box_points(lower, upper))
    for result in (lesion, roi):
        assert annotation_warnings(result) == [f"the lesion is only one voxel thick along image axis {name}"]


def test_points_one_voxel_thick_are_legal_and_reported(lps_image, write):
    points = [[x, y, 5] for x, y, _ in VOXELS_XYZ]
    lesion = read_one(write({"coordinates": "voxel", "points": points}), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points[2:], np.array(points)[2:, ::-1])
    assert {tuple(p) for p in lesion.extreme_points[:2]} == {tuple(p[::-1]) for p in points[:2]}
    assert annotation_warnings(lesion) == ["the lesion is only one voxel thick along image axis z"]


def test_points_of_a_tiny_lesion_may_share_voxels(lps_image, write):
    points = [[3, 3, 3]] * 3 + [[4, 3, 3]] * 3
    lesion = read_one(write({"coordinates": "voxel", "points": points}), lps_image)
    assert {tuple(p) for p in lesion.extreme_points.tolist()} == {(3, 3, 3), (3, 3, 4)}
    assert len(annotation_warnings(lesion)) == 2


# ---- label images


def label_array():
    array = np.zeros(SIZE_XYZ[::-1], np.uint8)
    for label, (x, y, z) in zip((4, 2, 6, 1, 3, 5), VOXELS_XYZ, strict=True):
        array[z, y, x] = label
    return array


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_label_image_marks_one_point_by_each_label(ending, dtype, image, write_label_image):
    lesion = read_one(write_label_image(label_array().astype(dtype), image, "case_007" + ending), image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)
    assert lesion.source == "extreme points"


def test_label_of_several_voxels_marks_the_one_nearest_to_their_centroid(lps_image, write_label_image):
    array = label_array()
    array[2, 8, 5:10] = 4  # x from 5 to 9: centroid at 7
    # an L of three voxels: centroid (y, x) = (15 1/3, 8 1/3); (15, 8) is nearest
    array[5, 15, 8] = array[5, 16, 8] = array[5, 15, 9] = 1
    lesion = read_one(write_label_image(array, lps_image), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)


def test_nearest_voxel_of_a_label_is_nearest_in_mm(lps_image, write_label_image):
    array = label_array()
    array[2, 8, 7] = 0
    array[1:4, 8, 4:11] = 4
    array[2, 8, 5:10] = 0  # a ring round its centroid (2, 8, 7), 3.1 mm away along z and 2.4 mm along x
    lesion = read_one(write_label_image(array, lps_image), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points[0], [2, 8, 4])


def test_a_label_at_several_places_is_refused(lps_image, write_label_image):
    array = label_array()
    z, y, x = np.argwhere(array == 3)[0]
    array[z + (2 if z < 5 else -2), y, x] = 3
    with pytest.raises(ValueError, match=r"label 3 lies at 2 places that do not touch.*<case>\.<name>\.nii\.gz"):
        read(write_label_image(array, lps_image), lps_image)


@pytest.mark.parametrize(("missing", "text"), [((3,), r"missing are \[3\]"), ((1, 6), r"missing are \[1, 6\]")])
def test_missing_labels_are_named(missing, text, lps_image, write_label_image):
    array = label_array()
    array[np.isin(array, missing)] = 0
    with pytest.raises(ValueError, match=rf"case_007\.nii\.gz.*{text}"):
        read(write_label_image(array, lps_image), lps_image)


def test_other_labels_are_named(lps_image, write_label_image):
    array = label_array()
    array[0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"missing are none, unknown are \[9\]"):
        read(write_label_image(array, lps_image), lps_image)
    with pytest.raises(ValueError, match=r"missing are \[2, 3, 4, 5, 6\]"):
        read(write_label_image((array > 0).astype(np.uint8), lps_image), lps_image)


def test_label_image_of_another_geometry_is_refused(lps_image, write_label_image):
    other = make_image(DIRECTIONS["RAS"])
    with pytest.raises(ValueError, match=r"case_007: .*case_007\.nii\.gz: direction differs"):
        read(write_label_image(label_array(), other), lps_image)


# ---- JSON with several lesions, CSV


def test_json_lesions_of_several_classes(lps_image, write):
    content = {
        "coordinates": "voxel",
        "lesions": [
            {"label": "node", "box": [[2, 3, 4], [12, 15, 8]]},
            {"label": "tumor", "points": VOXELS_XYZ},
            {"label": "T1", "points": VOXELS_XYZ[::-1]},
        ],
    }
    lesions = read(write(content), lps_image, CLASSES)
    assert [lesion.label for lesion in lesions] == [2, 1, 5]
    assert [lesion.source for lesion in lesions] == ["bounding box", "extreme points", "extreme points"]
    np.testing.assert_array_equal(lesions[2].extreme_points, EXPECTED_ZYX)


def test_csv_groups_rows_by_lesion(lps_image, write):
    rows = [["a", "tumor", *point] for point in VOXELS_XYZ]
    rows[2:2] = [["b", "node", 2, 3, 4]]  # rows of a lesion need not be neighbours
    rows += [["b", "node", 12, 15, 8]]
    file = write(csv_text(("lesion", "label", "x", "y", "z"), rows), "case_007.csv")
    tumor, node = read(file, lps_image, CLASSES)
    np.testing.assert_array_equal(tumor.extreme_points, EXPECTED_ZYX)
    np.testing.assert_array_equal(node.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    assert [(tumor.label, tumor.source), (node.label, node.source)] == [(1, "extreme points"), (2, "bounding box")]


def test_csv_rows_of_two_classes_are_two_lesions(lps_image, write):
    rows = [[label, *point] for point in VOXELS_XYZ for label in ("node", "tumor")]
    file = write(csv_text(("label", "x", "y", "z"), rows), "case_007.csv")
    assert [lesion.label for lesion in read(file, lps_image, CLASSES)] == [2, 1]


def test_csv_as_spreadsheets_write_it(lps_image, write):
    rows = [[f" {value} " for value in point] for point in VOXELS_XYZ]
    text = "\ufeff" + csv_text(("X ", "Y", " z"), [*rows, ["", "", ""]], separator=";").replace("\n", "\r\n")
    np.testing.assert_array_equal(read_one(write(text, "case_007.csv"), lps_image).extreme_points, EXPECTED_ZYX)
    text = csv_text(("x", "y", "z"), VOXELS_XYZ, separator="\t") + "\n\n"
    np.testing.assert_array_equal(read_one(write(text, "case_007.csv"), lps_image).extreme_points, EXPECTED_ZYX)


SPREADSHEETS = {
    "blank columns": "x,y,z,,\n{rows}",
    "a line that names the separator": "sep=;\nx;y;z\n{rows}",
    "blank lines first": "\n;;\nx;y;z\n{rows}",
    "missing separators at the end of a row": "x,y,z,note,reader\n{rows}",
    "coordinates in other letters": "x;y;z;Coordinates\n{rows}",
}


@pytest.mark.parametrize("what", SPREADSHEETS)
def test_what_else_spreadsheets_write(what, lps_image, write):
    text = SPREADSHEETS[what]
    separator = ";" if "x;y" in text else ","
    ending = {"blank columns": ",,", "coordinates in other letters": ";Voxel"}.get(what, "")
    rows = "\n".join(separator.join(map(str, point)) + ending for point in VOXELS_XYZ)
    lesion = read_one(write(text.format(rows=rows), "case_007.csv"), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)


@pytest.mark.parametrize(("coordinates", "signs"), [("lps", (1, 1, 1)), ("Ras", (-1, -1, 1))])
def test_coordinates_in_other_letters(coordinates, signs, lps_image, write):
    points = [(to_lps_mm(lps_image, point) * signs).tolist() for point in VOXELS_XYZ]
    content = json.dumps({"coordinates": coordinates, "points": points})
    np.testing.assert_array_equal(read_one(write(content), lps_image).extreme_points, EXPECTED_ZYX)


def test_csv_with_quoted_values(lps_image, tmp_path):
    with open(tmp_path / "case_007.csv", "w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["note", "x", "y", "z"])
        writer.writerows([["two\nlines, and a comma", *point] for point in VOXELS_XYZ])
    lesion = read_one(str(tmp_path / "case_007.csv"), lps_image)
    np.testing.assert_array_equal(lesion.extreme_points, EXPECTED_ZYX)


def test_one_csv_for_the_whole_dataset(lps_image, write):
    rows = [["case.1", *point] for point in VOXELS_XYZ] + [["case.2", 2, 3, 4], ["case.2", 12, 15, 8]]
    rows += [["case.3", "not", "a", "number"]]
    file = write(csv_text(("case", "x", "y", "z"), rows), "all.csv")
    found = find_annotations(file, ["case", "case.1", "case.2", "case.3", "case.4"])
    assert found == ({"case.1": (file,), "case.2": (file,), "case.3": (file,)}, ())
    assert find_annotations(file, ["case.1", "Case.2", "case.3"])[1] == (f"{file}, case 'case.2'",)
    np.testing.assert_array_equal(read_one(file, lps_image, case="case.1").extreme_points, EXPECTED_ZYX)
    box = read_one(file, lps_image, case="case.2")
    np.testing.assert_array_equal(box.extreme_points, box_points((2, 3, 4), (12, 15, 8)))
    with pytest.raises(ValueError, match=r"case\.3: .*all\.csv.*got 1"):
        read(file, lps_image, case="case.3")
    with pytest.raises(ValueError, match=r"case\.4: .*no row belongs to the case"):
        read(file, lps_image, case="case.4")


def test_csv_for_the_whole_dataset_needs_a_column_case(write):
    file = write(csv_text(("x", "y", "z"), VOXELS_XYZ), "all.csv")
    with pytest.raises(ValueError, match=r"all\.csv: .*column 'case'.*\['x', 'y', 'z'\]"):
        find_annotations(file, ["case_007"])


# ---- which files belong to which case, and which class to which lesion


def test_files_of_each_case_are_found(tmp_path):
    names = (
        "case_001.mrk.json",
        "case_002.json",
        "case_002.node.nii.gz",
        "case_002.node2.csv",
        "case_0021.json",
        "case_003.txt",
        "case_003",
        "unknown.json",
        ".case_001.json",
    )
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "case_004.json").mkdir()
    (tmp_path / "case_004.json" / "F.mrk.json").touch()
    found = find_annotations(tmp_path, ["case_001", "case_002", "case_003", "case_004", "case_00"])
    assert found == (
        {
            "case_001": (str(tmp_path / "case_001.mrk.json"),),
            "case_002": tuple(str(tmp_path / name) for name in names[1:4]),
        },
        tuple(
            str(tmp_path / name)
            for name in ("case_0021.json", "case_003", "case_003.txt", "case_004.json/F.mrk.json", "unknown.json")
        ),
    )


def test_what_slicer_writes_may_be_named_after_the_image(lps_image, tmp_path):
    content = slicer(slicer_points(lps_image))
    for name in ("a_0000.mrk.json", "a_0000.node2.mrk.json", "b_0000.json", "b_0000.nii.gz", "c_0000.mrk.json"):
        (tmp_path / name).write_text(json.dumps(content))
    found, others = find_annotations(tmp_path, ["a", "b", "c", "c_0000"])
    assert found == {
        "a": (str(tmp_path / "a_0000.mrk.json"), str(tmp_path / "a_0000.node2.mrk.json")),
        "c_0000": (str(tmp_path / "c_0000.mrk.json"),),
    }
    # what dcm2niix writes beside an image, and a copy of an image
    assert others == (str(tmp_path / "b_0000.json"), str(tmp_path / "b_0000.nii.gz"))
    assert read_one(found["a"][1], lps_image, CLASSES, case="a").label == 2
    with pytest.raises(ValueError, match="got no name"):
        read_one(found["a"][0], lps_image, CLASSES, case="a")


def test_longest_identifier_wins(tmp_path):
    for name in ("case.json", "case.1.json", "case.1.node.json", "case.10.json"):
        (tmp_path / name).touch()
    found = find_annotations(tmp_path, ["case", "case.1"])
    assert found == (
        {
            "case": (str(tmp_path / "case.10.json"), str(tmp_path / "case.json")),
            "case.1": (str(tmp_path / "case.1.json"), str(tmp_path / "case.1.node.json")),
        },
        (),
    )


@pytest.mark.parametrize(
    "names", [("case.csv", "case.json"), ("case.json", "case.mrk.json"), ("case.node.mha", "case.node.nii.gz")]
)
def test_two_files_of_one_lesion_are_refused_naming_both(names, lps_image, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    files = find_annotations(tmp_path, ["case"])[0]["case"]
    with pytest.raises(ValueError, match="case: .*same lesion") as error:
        read_lesions(files, lps_image, case="case", labels={"node": 1})
    assert all(str(tmp_path / name) in str(error.value) for name in names)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "file.json"])
def test_source_that_is_neither_folder_nor_csv_is_refused(name, tmp_path):
    (tmp_path / "file.json").touch()
    with pytest.raises(ValueError, match=name):
        find_annotations(tmp_path / name, ["case"])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("case_007.node.json", 2),
        ("case_007.node2.json", 2),
        ("case_007.node_02.json", 2),
        ("case_007.node-2.json", 2),
        ("case_007.tumor.json", 1),
        ("case_007.T1.json", 5),
        ("case_007.T1_2.json", 5),
    ],
)
def test_file_name_names_the_class(name, label, lps_image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ}, name)
    assert read_one(file, lps_image, CLASSES).label == label


@pytest.mark.parametrize("labels", [{"T": 1, "T1": 2, "T12": 3}, {"T12": 3, "T1": 2, "T": 1}])
@pytest.mark.parametrize(("name", "label"), [("T_1", 1), ("T1_2", 2), ("T12", 3), ("T123", 3)])
def test_longest_class_name_wins(name, label, labels, lps_image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ}, f"case_007.{name}.json")
    assert read_one(file, lps_image, labels).label == label


@pytest.mark.parametrize("ending", [".mrk.json", ".csv", ".nii.gz"])
def test_file_name_names_the_class_in_every_format(ending, lps_image, write, write_label_image):
    name = "case_007.node3" + ending
    if ending == ".nii.gz":
        file = write_label_image(label_array(), lps_image, name)
    elif ending == ".csv":
        file = write(csv_text(("x", "y", "z"), VOXELS_XYZ), name)
    else:
        file = write(slicer(slicer_points(lps_image)), name)
    assert read_one(file, lps_image, CLASSES).label == 2
    assert read_one(file, lps_image, {"lesion": 4}).label == 4


@pytest.mark.parametrize("name", ["case_007.json", "case_007.2.json", "case_007.other.json", "case_007.Node.json"])
def test_missing_or_unknown_class_in_the_file_name_is_refused_listing_the_known(name, lps_image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ}, name)
    with pytest.raises(ValueError, match=r"case_007: .*json: .*\['tumor', 'node', 'T1'\]"):
        read(file, lps_image, CLASSES)
    assert read_one(file, lps_image).label == 1


@pytest.mark.parametrize("class_name", ["other", ""])
def test_unknown_class_in_the_file_is_refused_listing_the_known(class_name, lps_image, write):
    file = write({"coordinates": "voxel", "points": VOXELS_XYZ, "label": class_name}, "case_007.node.json")
    with pytest.raises(ValueError, match=r"unknown class.*\['tumor', 'node', 'T1'\]"):
        read(file, lps_image, CLASSES)
    assert read_one(file, lps_image).label == 1


def test_class_in_the_file_needs_none_in_its_name_but_must_not_contradict_it(lps_image, write):
    content = {"coordinates": "voxel", "points": VOXELS_XYZ, "label": "node"}
    for name in ("case_007.json", "case_007.all.json", "case_007.node.json"):
        assert read_one(write(content, name), lps_image, CLASSES).label == 2
    with pytest.raises(ValueError, match=r"exactly one of.*got \['node', 'tumor'\]"):
        read(write(content, "case_007.tumor.json"), lps_image, CLASSES)


def test_name_of_a_markup_is_its_class_where_it_is_one(lps_image, write):
    markups = [slicer_points(lps_image, name=name) for name in ("node", "tumor_2")]
    lesions = read(write(slicer(*markups), "case_007.mrk.json"), lps_image, CLASSES)
    assert [lesion.label for lesion in lesions] == [2, 1]
    free_text = slicer(slicer_points(lps_image, name="MarkupsFiducial_3"))
    assert read_one(write(free_text, "case_007.node.mrk.json"), lps_image, CLASSES).label == 2
    with pytest.raises(ValueError, match=r"got \['MarkupsFiducial_3'\]"):
        read(write(free_text, "case_007.mrk.json"), lps_image, CLASSES)


def test_lesions_of_several_files_come_together(lps_image, write):
    first = write({"coordinates": "voxel", "points": VOXELS_XYZ}, "case_007.tumor.json")
    second = write(csv_text(("x", "y", "z"), [[2, 3, 4], [12, 15, 8]]), "case_007.node.csv")
    lesions = read_lesions([first, second], lps_image, case="case_007", labels=CLASSES)
    assert [(lesion.file, lesion.label) for lesion in lesions] == [(first, 1), (second, 2)]


# ---- what is refused


def with_point(point):
    return {"coordinates": "voxel", "points": [*VOXELS_XYZ[:5], point]}


def csv_with(columns=("x", "y", "z"), rows=VOXELS_XYZ):
    return csv_text(columns, rows)


def slicer_file(**more):
    return slicer(slicer_points(make_image(np.eye(3)), **more))


def roi_file(**more):
    image = make_image(np.eye(3))
    return slicer(slicer_roi(to_lps_mm(image, [7, 9, 6]), [5, 5, 5], np.eye(3)) | more)


MM_ROWS = in_coordinates(make_image(np.eye(3)), "LPS", VOXELS_XYZ)

BAD_JSON = {
    "no JSON": ("{coordinates: voxel", "JSON"),
    "empty file": ("", "JSON"),
    "list": (VOXELS_XYZ, "expected an object"),
    "number": ("7", "expected an object.*got 7"),
    "null": ("null", "expected an object.*got None"),
    "no coordinates": ({"points": VOXELS_XYZ}, "'coordinates'"),
    "no points": ({"coordinates": "voxel"}, "'points'"),
    "points and box": ({"coordinates": "voxel", "points": VOXELS_XYZ, "box": BOX_XYZ}, "one of"),
    "points and lesions": ({"coordinates": "voxel", "points": VOXELS_XYZ, "lesions": []}, "one of"),
    "lesions of another type": ({"coordinates": "voxel", "lesions": {"points": []}}, "list of objects"),
    "lesion of another type": ({"coordinates": "voxel", "lesions": [7]}, "list of objects"),
    "lesion without points": (
        {"coordinates": "voxel", "lesions": [{"points": VOXELS_XYZ}, {"label": "node"}]},
        "lesion 2: expected either 'points' or 'box'",
    ),
    "label of another type": ({"coordinates": "voxel", "points": VOXELS_XYZ, "label": 3}, "'label'.*3"),
    "unknown coordinates": ({"coordinates": "MNI", "points": VOXELS_XYZ}, "'coordinates'.*'MNI'"),
    "coordinates of another type": ({"coordinates": ["LPS"], "points": VOXELS_XYZ}, "'coordinates'"),
    "five points": ({"coordinates": "voxel", "points": VOXELS_XYZ[:5]}, "six points.*got 5"),
    "seven points": ({"coordinates": "voxel", "points": [*VOXELS_XYZ, VOXELS_XYZ[0]]}, "six points.*got 7"),
    "no point": ({"coordinates": "voxel", "points": []}, "six points.*got 0"),
    "one corner": ({"coordinates": "voxel", "box": BOX_XYZ[:1]}, "two opposite corners.*got 1"),
    "three corners": ({"coordinates": "voxel", "box": [*BOX_XYZ, [0, 0, 0]]}, "two opposite corners.*got 3"),
    "points null": ({"coordinates": "voxel", "points": None}, "got None"),
    "points an object": ({"coordinates": "voxel", "points": {"a": 1}}, "six points"),
    "two coordinates": ({"coordinates": "voxel", "points": [p[:2] for p in VOXELS_XYZ]}, "six points"),
    "ragged points": (with_point([1, 2]), "six points"),
    "text instead of a number": (with_point([1, 2, "three"]), "three"),
    "null instead of a number": (with_point([1, 2, None]), "None"),
    "NaN": (with_point([1, 2, float("nan")]), "finite.*nan"),
    "infinity": (with_point([1, 2, float("inf")]), "finite.*inf"),
    "box with NaN": ({"coordinates": "voxel", "box": [[1, 2, 3], [4, 5, float("nan")]]}, "finite.*nan"),
    "beyond the last voxel": (with_point([14, 8, 7]), r"1 of 6 points.*\[14, 8, 7\]"),
    "before the first voxel": (with_point([2, -1, 7]), r"\[2, -1, 7\]"),
    "far outside": (with_point([2, 8, 1e300]), "1 of 6 points"),
    "box outside the image": (
        {"coordinates": "voxel", "box": [[2, 18, 4], [12, 20, 8]]},
        r"box from voxel \[2, 18, 4\] to \[12, 20, 8\] lies outside the image of size \(14, 17, 11\)",
    ),
    "millimetres far from the image": ({"coordinates": "LPS", "points": VOXELS_XYZ}, "6 of 6 points"),
    "itksnap voxels before the first": (
        {"coordinates": "itksnap", "points": [*VOXELS_XYZ[:5], [0, 8, 7]]},
        r"1 of 6 points.*\[-1, 7, 6\]",
    ),
}

BAD_SLICER = {
    "no markup": (slicer(), "'markups' is empty"),
    "markups of another type": ({"markups": {"type": "ROI"}}, "'markups' must be a list"),
    "line": (slicer_file(type="Line"), "a line"),
    "no type": (slicer_file(type=None), "type None"),
    "unknown coordinate system": (slicer_file() | slicer({"coordinateSystem": "IJK"}), "'coordinateSystem'.*'IJK'"),
    "boolean coordinate system": (slicer({"coordinateSystem": True}), "'coordinateSystem'.*True"),
    "micrometres": (slicer_file(coordinateUnits="um"), "'coordinateUnits'.*'um'"),
    "five points": (slicer_file(points=VOXELS_XYZ[:5]), "six control points.*got 5"),
    "seven points": (slicer_file(points=[*VOXELS_XYZ, VOXELS_XYZ[0]]), "six control points.*got 7"),
    "no points": (slicer_file(controlPoints=[]), "got 0"),
    "points of another type": (slicer_file(controlPoints=[1, 2]), "'controlPoints'"),
    "second markup": (
        slicer(slicer_points(make_image(np.eye(3))), {"type": "Fiducial", "name": "x", "controlPoints": []}),
        "markup 2 'x': .*got 0",
    ),
    "ROI without size": (roi_file(size=None), "'size'.*None"),
    "ROI of negative size": (roi_file(size=[5, -5, 5]), r"'size'.*\[5\.0, -5\.0, 5\.0\]"),
    "ROI of infinite size": (roi_file(size=[5, float("inf"), 5]), "'size'.*inf"),
    "ROI without centre": (roi_file(center=None), "'center'.*None"),
    "ROI of zero orientation": (roi_file(orientation=[0] * 9), "'orientation'"),
    "ROI of short orientation": (roi_file(orientation=[1, 0, 0]), "'orientation'.*got 3"),
    "ROI far outside": (roi_file(center=[1e4, 0, 0]), "box.* lies outside the image"),
}

BAD_CSV = {
    "empty file": ("", r"columns x, y, z.*\[\]"),
    "no rows": (csv_with(rows=[]), "no row"),
    "no header": (csv_with(VOXELS_XYZ[0], VOXELS_XYZ[1:]), "columns x, y, z"),
    "missing column": (csv_with(("x", "y", "w")), r"columns x, y, z.*\['x', 'y', 'w'\]"),
    "voxels and mm": (csv_with(("x", "y", "z", "x_mm", "y_mm", "z_mm"), [p + p for p in VOXELS_XYZ]), "or else"),
    "column twice": (csv_with(("x", "y", "z", "x"), [[*p, 1] for p in VOXELS_XYZ]), "differ"),
    "five rows": (csv_with(rows=VOXELS_XYZ[:5]), "six rows.*got 5"),
    "seven rows": (csv_with(rows=[*VOXELS_XYZ, VOXELS_XYZ[0]]), "six rows.*got 7"),
    "five rows of a lesion": (
        csv_with(("lesion", "x", "y", "z"), [["a", *p] for p in VOXELS_XYZ] + [["b", *p] for p in VOXELS_XYZ[:5]]),
        "lesion b: .*got 5",
    ),
    "value too many": (csv_with(rows=[*VOXELS_XYZ[:5], [1, 2, 3, 4]]), r"each of the columns.*'4'"),
    "value too few": (csv_with(rows=[*VOXELS_XYZ[:5], [1, 2]]), "six points"),
    "text": (csv_with(rows=[*VOXELS_XYZ[:5], [1, 2, "three"]]), "three"),
    "blank value": (csv_with(rows=[*VOXELS_XYZ[:5], [1, 2, ""]]), "six points"),
    "NaN": (csv_with(rows=[*VOXELS_XYZ[:5], [1, 2, "nan"]]), "finite.*nan"),
    "outside": (csv_with(rows=[*VOXELS_XYZ[:5], [14, 8, 7]]), "1 of 6 points"),
    "mm without coordinates": (csv_with(("x_mm", "y_mm", "z_mm"), MM_ROWS), "'coordinates' must be LPS or RAS"),
    "mm in voxels": (
        csv_with(("x_mm", "y_mm", "z_mm", "coordinates"), [[*p, "voxel"] for p in MM_ROWS]),
        r"'coordinates' must be.*\['voxel'\]",
    ),
    "blank coordinates": (
        csv_with(("x_mm", "y_mm", "z_mm", "coordinates"), [[*p, "LPS" if p is MM_ROWS[0] else ""] for p in MM_ROWS]),
        "same for the whole lesion",
    ),
    "voxels in mm": (
        csv_with(("x", "y", "z", "coordinates"), [[*p, "LPS"] for p in VOXELS_XYZ]),
        "'coordinates' must be",
    ),
    "unknown coordinates": (
        csv_with(("x_mm", "y_mm", "z_mm", "coordinates"), [[*p, "mni"] for p in MM_ROWS]),
        "'coordinates' must be LPS or RAS.*'mni'",
    ),
    "mixed coordinates": (
        csv_with(("x_mm", "y_mm", "z_mm", "coordinates"), [[*p, "LPS" if p[2] > 110 else "RAS"] for p in MM_ROWS]),
        r"\['LPS', 'RAS'\]",
    ),
    "3D Slicer's columns and voxels": (
        csv_with(("x", "y", "z", "l", "p", "s"), [p + p for p in VOXELS_XYZ]),
        "columns x, y, z.*or else",
    ),
    "3D Slicer's table with a point too few": (
        csv_with(("label", "l", "p", "s", "defined"), [["F", *p, int(p is not VOXELS_XYZ[0])] for p in VOXELS_XYZ]),
        "six rows.*got 5",
    ),
}
BAD = (
    [("case_007.json", *bad) for bad in BAD_JSON.values()]
    + [("case_007.mrk.json", *bad) for bad in BAD_SLICER.values()]
    + [("case_007.csv", *bad) for bad in BAD_CSV.values()]
)
BAD_NAMES = [f"JSON {n}" for n in BAD_JSON] + [f"Slicer {n}" for n in BAD_SLICER] + [f"CSV {n}" for n in BAD_CSV]


@pytest.mark.parametrize(("name", "content", "reason"), BAD, ids=BAD_NAMES)
def test_bad_annotation_is_refused_naming_case_and_file_and_reason(name, content, reason, lps_image, write):
    file = write(content, name)
    with pytest.raises(ValueError, match=reason) as error:
        read(file, lps_image)
    assert str(error.value).startswith(f"case_007: {file}: ")
    assert len(str(error.value)) < 1200


@pytest.mark.parametrize("ending", [".json", ".mrk.json", ".csv", ".nii.gz"])
def test_missing_file_is_refused_naming_it(ending, lps_image, tmp_path):
    with pytest.raises(ValueError, match=r"case_007: .*nowhere"):
        read(str(tmp_path / ("nowhere" + ending)), lps_image)


@pytest.mark.parametrize("ending", [".json", ".mrk.json", ".csv", ".nii.gz"])
def test_binary_file_is_refused_naming_it(ending, lps_image, tmp_path):
    (tmp_path / ("binary" + ending)).write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"case_007: .*binary"):
        read(str(tmp_path / ("binary" + ending)), lps_image)


# ---- dense masks


def mask_image(array, direction=DIRECTIONS["LPS"], spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(np.ravel(direction).tolist())
    return image


def points_of(lesions):
    return [lesion.extreme_points.tolist() for lesion in lesions]


def test_clicks_on_a_mask_are_those_of_its_voxels():
    array = np.zeros((9, 12, 15), np.uint8)
    array[2:5, 3:10, 4:13] = 1
    (lesion,) = lesions_from_mask(mask_image(array), labels=TUMOUR)
    np.testing.assert_array_equal(lesion.extreme_points, box_points((4, 3, 2), (12, 9, 4)))
    assert (lesion.label, lesion.source, lesion.file) == (1, "simulated from a dense mask", None)
    assert np.issubdtype(lesion.extreme_points.dtype, np.integer)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("gap", "count"), [(4, 1), (5, 1), (6, 2)])
def test_components_within_the_merge_distance_are_one_lesion(axis, gap, count):
    """Spacing 1 mm: first and last voxel ``gap`` voxels apart."""
    assert MERGE_DISTANCE_MM == 5
    array = np.zeros((20, 20, 20), np.uint8)
    array[5:8, 5:8, 5:8] = 1
    array += np.roll(array, 2 + gap, axis=axis)
    lesions = lesions_from_mask(mask_image(array), labels=TUMOUR)
    assert len(lesions) == count
    assert max(lesion.extreme_points[:, axis].max() for lesion in lesions) == 9 + gap
    assert min(lesion.extreme_points[:, axis].min() for lesion in lesions) == 5


def test_merge_distance_is_in_mm_between_nearest_voxel_centres():
    array = np.zeros((20, 20, 40), np.uint8)
    array[5, 5, [5, 15, 26]] = 1  # 0.5 mm: 5 mm apart, then 5.5 mm
    lesions = lesions_from_mask(mask_image(array, spacing=(0.5, 1.0, 3.0)), labels=TUMOUR)
    assert [lesion.extreme_points[:, 2].tolist() for lesion in lesions] == [[5, 5, 5, 5, 5, 15], [26] * 6]
    array = np.zeros((20, 20, 40), np.uint8)
    array[[5, 7], 5, 5] = 1  # 3 mm: 6 mm apart
    assert len(lesions_from_mask(mask_image(array, spacing=(0.5, 1.0, 3.0)), labels=TUMOUR)) == 2
    array[6, 6, 6] = 1  # joins both by its corners
    assert len(lesions_from_mask(mask_image(array, spacing=(0.5, 1.0, 3.0)), labels=TUMOUR)) == 1


def test_fragments_merge_along_a_chain_and_diagonally():
    array = np.zeros((30, 30, 30), np.uint8)
    array[2, 2, 2] = array[2, 5, 6] = array[2, 8, 10] = 1  # 3-4-5 triangles: 5 mm each
    array[20, 20, 20] = array[20, 24, 24] = 1  # 5.66 mm
    lesions = lesions_from_mask(mask_image(array), labels=TUMOUR)
    assert len(lesions) == 3
    np.testing.assert_array_equal(lesions[0].extreme_points.max(axis=0), [2, 8, 10])
    np.testing.assert_array_equal(lesions[0].extreme_points.min(axis=0), [2, 2, 2])


def test_merging_agrees_with_all_pairs_of_voxels():
    generator = np.random.default_rng(3)
    spacing_zyx = (2.5, 0.9, 1.4)
    array = (generator.random((12, 40, 30)) > 0.997).astype(np.uint8)
    voxels_mm = np.argwhere(array) * spacing_zyx
    near = np.linalg.norm(voxels_mm[:, None] - voxels_mm[None], axis=-1) <= MERGE_DISTANCE_MM
    for _ in range(len(near)):
        near = (near.astype(int) @ near.astype(int)) > 0
    expected = len({tuple(row) for row in near.tolist()})
    assert 5 < expected < len(voxels_mm)
    assert len(lesions_from_mask(mask_image(array, spacing=spacing_zyx[::-1]), labels=TUMOUR)) == expected


def test_other_components_do_not_move_the_clicks_of_a_lesion():
    """The box of one lesion holds another one: a shell of 21 voxels round a centre."""
    array = np.zeros((25, 25, 25), np.uint8)
    array[2:23, 2:23, 2:23] = 1
    array[3:22, 3:22, 3:22] = 0
    array[11:14, 11:14, 11:14] = 1
    shell, centre = lesions_from_mask(mask_image(array), labels=TUMOUR)
    assert (shell.extreme_points.min(), shell.extreme_points.max()) == (2, 22)
    np.testing.assert_array_equal(centre.extreme_points, box_points((11, 11, 11), (13, 13, 13)))


def test_clicks_lie_on_their_own_lesion():
    """An L, and in the corner of its box another lesion that reaches the same face."""
    array = np.zeros((5, 24, 24), np.uint8)
    array[2, 1, 1:22] = array[2, 1:22, 1] = 1
    array[2, 17:22, 21] = 1
    first, second = lesions_from_mask(mask_image(array), labels=TUMOUR)
    assert first.extreme_points[5].tolist() == [2, 1, 21]
    assert second.extreme_points[:, 1].tolist() == [19, 19, 17, 21, 19, 19]


def test_diagonal_neighbours_are_one_lesion_however_far_apart():
    array = np.zeros((6, 6, 6), np.uint8)
    array[2, 2, 2] = array[3, 3, 3] = 1
    assert len(lesions_from_mask(mask_image(array, spacing=(6.0, 6.0, 6.0)), labels=TUMOUR)) == 1


def test_classes_are_separate_lesions_even_where_they_touch():
    array = np.zeros((9, 12, 15), np.uint8)
    array[2:5, 3:10, 4:9] = 2
    array[2:5, 3:10, 9:14] = 1
    lesions = lesions_from_mask(mask_image(array), labels=CLASSES)  # T1 (5) is absent
    assert [lesion.label for lesion in lesions] == [1, 2]
    np.testing.assert_array_equal(lesions[0].extreme_points, box_points((9, 3, 2), (13, 9, 4)))
    np.testing.assert_array_equal(lesions[1].extreme_points, box_points((4, 3, 2), (8, 9, 4)))
    (lesion,) = lesions_from_mask(mask_image(array), labels={"tumor": 3})  # a single class: all that is not 0
    assert (lesion.label, lesion.extreme_points[:, 2].min(), lesion.extreme_points[:, 2].max()) == (3, 4, 13)


def test_unknown_labels_of_a_mask_are_refused():
    array = np.zeros((5, 5, 5), np.uint8)
    array[2, 2, 2:4] = 1, 7
    with pytest.raises(ValueError, match=r"'node': 2.*got \[1, 7\]"):
        lesions_from_mask(mask_image(array), labels=CLASSES)


@pytest.mark.parametrize("labels", [TUMOUR, CLASSES])
def test_empty_mask_is_refused(labels):
    with pytest.raises(ValueError, match="got none"):
        lesions_from_mask(mask_image(np.zeros((5, 5, 5), np.uint8)), labels=labels)


def test_lesion_of_one_voxel_is_reported():
    array = np.zeros((5, 5, 5), np.uint8)
    array[2, 3, 1] = 1
    (lesion,) = lesions_from_mask(mask_image(array), labels=TUMOUR)
    assert lesion.extreme_points.tolist() == [[2, 3, 1]] * 6
    (warning,) = annotation_warnings(lesion)
    assert "single voxel, [2, 3, 1]" in warning


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("case_007.json", {"coordinates": "voxel", "points": [[3, 4, 5]] * 6}),
        ("case_007.json", {"coordinates": "voxel", "points": [[3, 4, 4.6]] * 3 + [[3.2, 4, 5.4]] * 3}),
        ("case_007.json", {"coordinates": "voxel", "box": [[3, 4, 5], [3, 4, 5]]}),
        ("case_007.csv", csv_text(("x", "y", "z"), [[3, 4, 5]] * 6)),
        (
            "case_007.mrk.json",
            slicer(slicer_roi(to_lps_mm(make_image(np.eye(3)), [3, 4, 5]), [0.1, 0.1, 0.1], np.eye(3))),
        ),
    ],
    ids=["points", "points after rounding", "box", "csv", "ROI"],
)
def test_annotated_lesion_of_one_voxel_is_legal_and_reported(name, content, lps_image, write):
    lesion = read_one(write(content, name), lps_image)
    assert lesion.extreme_points.tolist() == [[5, 4, 3]] * 6
    (warning,) = annotation_warnings(lesion)
    assert "single voxel, [5, 4, 3]" in warning


@pytest.mark.parametrize("orientation", DIRECTIONS)
def test_clicks_on_a_mask_are_extreme_along_the_patient_axes(orientation):
    array = np.zeros((20, 30, 25), np.uint8)
    z, y, x = np.indices(array.shape)
    array[((z - 9) / 6) ** 2 + ((y - 14) / 11) ** 2 + ((x - 12) / 8) ** 2 <= 1] = 1
    mask = mask_image(array, DIRECTIONS[orientation], spacing=(1.2, 0.8, 1.0))
    (lesion,) = lesions_from_mask(mask, labels=TUMOUR)
    every = np.array([to_lps_mm(mask, voxel[::-1]) for voxel in np.argwhere(array)])
    clicked = np.array([to_lps_mm(mask, voxel[::-1]) for voxel in lesion.extreme_points])
    # the farthest along each patient axis; by half a voxel where the mask has a flat face
    np.testing.assert_allclose(clicked.max(axis=0), every.max(axis=0), atol=0.4)
    np.testing.assert_allclose(clicked.min(axis=0), every.min(axis=0), atol=0.4)


def large_cube():
    array = np.zeros((60, 60, 60), np.uint8)
    array[15:46, 15:46, 15:46] = 1
    return array


def test_no_jitter_changes_nothing_and_draws_nothing():
    generator = np.random.default_rng(0)
    mask = mask_image(large_cube())
    (lesion,) = lesions_from_mask(mask, labels=TUMOUR, jitter_mm=0.0, generator=generator)
    assert lesion.extreme_points.tolist() == box_points((15, 15, 15), (45, 45, 45))
    assert generator.random() == np.random.default_rng(0).random()


def test_jitter_is_gaussian_in_mm_along_each_axis():
    spacing_xyz, sigma_mm = (0.5, 1.0, 2.0), 1.0  # far less than the size of the cube: no click overtakes another
    mask = mask_image(large_cube(), spacing=spacing_xyz)
    generator = np.random.default_rng(0)
    jittered = [lesions_from_mask(mask, labels=TUMOUR, jitter_mm=sigma_mm, generator=generator) for _ in range(400)]
    offsets = np.array(points_of(lesions[0] for lesions in jittered)) - box_points((15, 15, 15), (45, 45, 45))
    offsets_mm = offsets * spacing_xyz[::-1]
    np.testing.assert_allclose(offsets_mm.mean(axis=(0, 1)), 0, atol=0.1)  # standard error 1.15 / sqrt(2400) = 0.02
    # rounding to voxels adds spacing^2 / 12 to the variance: 1.15, 1.04, 1.01 mm
    expected = np.sqrt(sigma_mm**2 + np.square(spacing_xyz[::-1]) / 12)
    np.testing.assert_allclose(offsets_mm.std(axis=(0, 1)), expected, rtol=0.06)


def test_jitter_follows_its_generator():
    mask = mask_image(large_cube())
    jittered = [
        points_of(lesions_from_mask(mask, labels=TUMOUR, jitter_mm=3.0, generator=np.random.default_rng(seed)))
        for seed in (1, 1, 2)
    ]
    assert jittered[0] == jittered[1] != jittered[2]


@pytest.mark.parametrize("orientation", DIRECTIONS)
def test_jittered_clicks_stay_in_the_image_and_in_order(orientation):
    array = np.zeros((5, 6, 7), np.uint8)
    array[1:4, 1:5, 1:6] = 1
    mask = mask_image(array, DIRECTIONS[orientation])
    generator = np.random.default_rng(0)
    for _ in range(50):
        (lesion,) = lesions_from_mask(mask, labels=TUMOUR, jitter_mm=4.0, generator=generator)
        points = lesion.extreme_points
        assert (points >= 0).all()
        assert (points < array.shape).all()
        if "oblique" not in orientation:
            for axis in range(3):
                assert points[2 * axis, axis] == points[:, axis].min()
                assert points[2 * axis + 1, axis] == points[:, axis].max()


@pytest.mark.parametrize("jitter_mm", [-1.0, float("nan")])
def test_bad_jitter_is_refused(jitter_mm):
    with pytest.raises(ValueError, match=f"jitter_mm.*{jitter_mm}"):
        lesions_from_mask(
            mask_image(large_cube()), labels=TUMOUR, jitter_mm=jitter_mm, generator=np.random.default_rng(0)
        )


def test_jitter_needs_a_generator():
    with pytest.raises(ValueError, match="generator"):
        lesions_from_mask(mask_image(large_cube()), labels=TUMOUR, jitter_mm=1.0)


# ---------------------------------------------------------------------------- what is legal but probably not meant


def annotated(points, source="extreme points"):
    return Lesion(np.array(points), source=source)


SIX_DIRECTIONS = [(2, 10, 10), (12, 10, 11), (7, 2, 10), (7, 18, 9), (7, 10, 1), (8, 11, 19)]


def test_six_points_at_six_places_give_no_warning():
    assert annotation_warnings(annotated(SIX_DIRECTIONS)) == []


@pytest.mark.parametrize("beside", [(0, 0, 0), (1, 0, 1)])
def test_a_place_that_stands_for_two_directions_gives_a_warning(beside):
    points = np.array(SIX_DIRECTIONS)
    points[1] = points[3] + beside
    (warning,) = annotation_warnings(annotated(points))
    assert "towards high z and high y" in warning
    assert "is one of the six directions missing?" in warning


def test_a_click_made_twice_instead_of_another_is_noticed(tmp_path):
    image = sitk.Image(24, 24, 20, sitk.sitkInt16)
    points = [point[::-1] for point in SIX_DIRECTIONS]
    points[1] = points[4]  # nobody clicked the highest z
    (tmp_path / "case.json").write_text(json.dumps({"coordinates": "voxel", "points": points}))
    (lesion,) = read_lesions([str(tmp_path / "case.json")], image, case="case", labels={"tumor": 1})
    assert any("is one of the six directions missing?" in warning for warning in annotation_warnings(lesion))


def test_a_click_made_twice_is_noticed_in_a_lesion_of_few_thick_slices():
    # z from 2 to 5 only; the highest x was not clicked, so the highest point stands for it as well
    thin = [(2, 10, 10), (5, 10, 12), (3, 2, 10), (4, 18, 9), (3, 10, 1), (5, 10, 12)]
    (warning,) = annotation_warnings(annotated(thin))
    assert "towards high z and high x" in warning
    neighbours = [(2, 10, 10), (5, 10, 12), (3, 2, 10), (4, 18, 9), (3, 10, 1), (5, 11, 13)]
    assert annotation_warnings(annotated(neighbours)) == []  # tips of a thin lesion do lie close to each other


def test_tips_of_simulated_and_of_tiny_lesions_are_no_reason_to_warn():
    points = np.array(SIX_DIRECTIONS)
    points[1] = points[3]
    assert annotation_warnings(annotated(points, source="simulated from a dense mask")) == []
    assert annotation_warnings(annotated(points // 6 + [[0, 0, 0]])) == []


def test_one_label_for_lesions_of_several_classes_is_refused(tmp_path):
    image = sitk.Image(24, 24, 20, sitk.sitkInt16)
    points = [point[::-1] for point in SIX_DIRECTIONS]
    lesions = [{"label": name, "points": points} for name in ("node", "tumor")]
    (tmp_path / "case.json").write_text(json.dumps({"coordinates": "voxel", "lesions": lesions}))
    with pytest.raises(ValueError, match=r"case: .*case.json: .*\['node', 'tumor'\], but there is one label"):
        read_lesions([str(tmp_path / "case.json")], image, case="case", labels={"tumor": 1})


def test_decimal_commas_are_read_where_semicolons_separate(tmp_path):
    image = sitk.Image(24, 24, 20, sitk.sitkInt16)
    rows = [";".join(f"{v + 0.25:.2f}".replace(".", ",") for v in point[::-1]) + ";LPS" for point in SIX_DIRECTIONS]
    (tmp_path / "case.csv").write_text("\n".join(["x_mm;y_mm;z_mm;coordinates", *rows]))
    (lesion,) = read_lesions([str(tmp_path / "case.csv")], image, case="case", labels={"tumor": 1})
    np.testing.assert_array_equal(lesion.extreme_points, SIX_DIRECTIONS)
