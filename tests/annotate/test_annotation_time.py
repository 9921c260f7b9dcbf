import importlib.util
from pathlib import Path

import numpy as np
from support.annotation_cases import ellipsoid, phantom, write_images
from support.conversion_cases import write

from nnunetv2_simple.annotate.folder import list_cases
from nnunetv2_simple.images import image_like

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "annotation_time.py"


def test_the_benchmark_measures_what_is_seen_first_and_the_exact_mask(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("annotation_time", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    write_images(tmp_path, "a")
    write(image_like(ellipsoid().astype(np.uint8), phantom()), tmp_path / "mask.nii.gz")
    case = list_cases(tmp_path / "images", 1)[0]
    times = benchmark.seconds_to_mask(case, tmp_path / "mask.nii.gz", tmp_path / "small")
    assert times["first"] == times["exact"], "a small lesion has no preview"
    monkeypatch.setattr("nnunetv2_simple.annotate.masks.PREVIEW_VOXELS", 500)
    times = benchmark.seconds_to_mask(case, tmp_path / "mask.nii.gz", tmp_path / "large")
    assert 0 < times["first"][1] < times["exact"][1]
