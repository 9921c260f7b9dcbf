"""The page of predictions without references."""

import json

import numpy as np
import pytest
from support.page import Page
from support.report_example import SHAPE, block, write_volume

from nnunetv2_simple.report.preview import main

LESION = block((2, 5), (6, 14), (4, 10))  # 144 voxels of 12 mm3


@pytest.fixture
def folders(tmp_path):
    predictions = {
        "good": LESION,
        "other": LESION,
        "empty": np.zeros(SHAPE, np.uint8),
        "parts": block((2, 3), (1, 2), (1, 2), array=LESION.copy()),
        "tiny": block((2, 3), (6, 8), (4, 10)),
    }
    for case, prediction in predictions.items():
        write_volume(tmp_path / "images" / f"{case}_0000.nii.gz", np.random.default_rng(0).normal(0, 1, SHAPE))
        write_volume(tmp_path / "out" / f"{case}.nii.gz", prediction)
    (tmp_path / "out" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumor": 1, "ignore": 2}}))
    return tmp_path


def run(folders, *options):
    return main(["-i", str(folders / "images"), "-p", str(folders / "out"), "-np", "1", *options])


def test_the_page_shows_every_prediction_the_odd_ones_first(folders):
    assert run(folders) == 0
    page = Page((folders / "out" / "preview.html").read_text(encoding="utf-8"))
    names = [image["alt"].removeprefix("prediction of ") for image in page.all("img")]
    assert set(names[:3]) == {"empty", "parts", "tiny"} and names[3:] == ["good", "other"]
    assert page.facts == {"cases": "5", "with something odd": "3", "nothing predicted": "1"}
    assert "tumor 1.73 ml" in page.text and "tumor has 2 parts" in page.text
    assert "tumor: 0.14 ml, the median of all cases is 1.7 ml" in page.text
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))


def test_what_cannot_be_shown_is_named_and_the_others_are_shown(folders, capsys):
    (folders / "images" / "good_0000.nii.gz").unlink()
    (folders / "out" / "parts.nii.gz").write_bytes(b"damaged")
    assert run(folders, "-o", str(folders / "page.html")) == 1
    error = capsys.readouterr().err
    assert "FAILED good: there is no image good_0000" in error and "FAILED parts: " in error
    assert len(Page((folders / "page.html").read_text(encoding="utf-8")).all("img")) == 3


def test_no_prediction_is_an_error(folders, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    assert main(["-i", str(folders / "images"), "-p", str(tmp_path / "nothing")]) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err
