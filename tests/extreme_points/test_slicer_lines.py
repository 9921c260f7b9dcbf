"""3D Slicer's lines: one long axis is no lesion's extent."""

import json

import pytest
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.lesions import read_lesions


def test_a_line_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "case_1.mrk.json"
    points = [{"position": [1, 2, 3]}, {"position": [6, 7, 8]}]
    markup = {"type": "Line", "name": "RECIST", "coordinateSystem": "LPS", "controlPoints": points}
    file.write_text(json.dumps({"markups": [markup]}))
    with pytest.raises(ValueError, match=r"case_1\.mrk\.json.*RECIST.*line.*six points"):
        read_lesions([str(file)], sitk.Image((9, 9, 9), sitk.sitkUInt8), case="case_1", labels={"tumor": 1})
