import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.conversion.cases import Conversion
from nnunetv2_simple.conversion.input_folders import find_cases
from nnunetv2_simple.conversion.loading import annotated_lesions
from nnunetv2_simple.demo.demo import Demo, conclusion, lines_or_silence, main, progress_of
from nnunetv2_simple.extreme_points import extreme_points_from_mask


def test_of_output_what_tells_how_far_it_is_is_shown():
    assert progress_of("converting: 50%|## | 1/2\rQuality page: /a/index.html\n") == "Quality page: /a/index.html"
    assert progress_of("6 of 6 cases are in raw: 6 converted now\n") == "6 of 6 cases are in raw: 6 converted now"
    assert progress_of("using pin_memory on device 0\n") is None


def test_a_folder_of_somebody_else_is_neither_used_nor_removed(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    for options in ([], ["--overwrite"]):
        with pytest.raises(SystemExit):
            main(["-o", str(tmp_path), *options])
        assert str(tmp_path) in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_command_that_fails_ends_the_demo_and_names_the_log(tmp_path):
    demo = Demo(tmp_path, num_training=1, num_test=1, seed=0)
    with pytest.raises(SystemExit, match="commands.log"):
        demo.command("false")


def test_a_command_is_never_silent_for_long():
    class Slow:
        def __iter__(self):
            yield "begun\n"
            waiting.wait(0.5)
            yield "ended\n"

    from threading import Event

    waiting = Event()
    lines = list(lines_or_silence(Slow(), 0.05))
    assert lines[0] == "begun\n" and lines[-1] == "ended\n"
    assert None in lines[1:-1]


def test_the_clicks_are_those_of_the_tumors_in_both_formats(tmp_path):
    Demo(tmp_path, num_training=1, num_test=1, seed=0).write_phantoms()
    folders = [tmp_path / "phantoms" / name for name in ("images", "clicks", "masks")]
    cases = find_cases(*folders)
    assert {file.rpartition("/")[2] for case in cases for file in case.annotation_files} == {
        "breast_000.csv",
        "breast_001.mrk.json",
    }
    for case in cases:
        expected = extreme_points_from_mask(sitk.GetArrayFromImage(sitk.ReadImage(case.mask_file)))
        image = sitk.ReadImage(case.image_files[0])
        (lesion,) = annotated_lesions(case, Conversion(tmp_path, ["pre", "post"]), image)
        np.testing.assert_array_equal(np.sort(lesion.extreme_points, axis=0), np.sort(expected, axis=0))


def method(key, dice, interval, p_value=None):
    test = {"mean_difference": sum(interval or [0]) / 2, "difference_interval": interval, "p_value": p_value}
    return {
        "key": key,
        "summary": {"dice": {"mean": dice}},
        "wilcoxon_vs_full": test if interval else None,
        "folds": {"0": {"cases": dict.fromkeys("abcdef")}},
    }


def test_the_last_lines_say_what_is_chance():
    simple, walker = method("simple", 0.8, [-0.1, -0.02], 0.062), method("walker", 0.7, [-0.2, -0.1], 0.031)
    methods = [simple, walker, method("full", 0.85, None)]
    text = conclusion(json.loads(json.dumps({"methods": methods})))
    simple, walker = (line for line in text.splitlines() if "95 %" in line)
    assert "no difference is shown" in simple and "-10.0 to -2.0, p = 0.062" in simple
    assert "more than chance" in walker and "-15.0 points" in walker
    assert "6 unseen cases" in text


def test_the_demo_needs_enough_cases_for_five_folds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_simple_demo"])
    with pytest.raises(SystemExit):
        main(["-o", str(tmp_path), "-num_training", "4"])
    assert "at least 5" in capsys.readouterr().err
