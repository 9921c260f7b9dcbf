"""A comparison on a full disk: it names the file, takes nothing half-written for done, and its rerun completes it."""

from pathlib import Path

import numpy as np
import pytest
from support.comparison_files import (
    DENSE,
    TEST_CASES,
    TRAINING_CASES,
    WEAK,
    age,
    make_comparison,
    write_checkpoint,
    write_environment,
    write_json,
    write_plans,
    write_volume,
)
from support.full_disk import full_disk

from nnunetv2_simple.comparison import run
from nnunetv2_simple.comparison.command_line import compare
from nnunetv2_simple.comparison.run import CommandError
from nnunetv2_simple.comparison.settings import Comparison
from nnunetv2_simple.files import PARTIAL

SHAPE = (16, 32, 32)


def noise(*seed: int) -> np.ndarray:
    """A mask that takes some 2 KB however it is compressed."""
    return np.random.default_rng(seed).integers(2, size=SHAPE)


def prepare(folder: Path, monkeypatch) -> Comparison:
    """A finished training; nnU-Net's other commands write what they would, with the library it writes with."""
    write_environment(folder)
    monkeypatch.setenv("nnUNet_results", str(folder / "results"))
    comparison = make_comparison(folder, "full")
    for number, case in enumerate(TEST_CASES):
        write_volume(comparison.images / f"{case}_0000.nii.gz", noise(0, number))
        write_volume(comparison.references / f"{case}.nii.gz", noise(1, number))
        age(comparison.images / f"{case}_0000.nii.gz", 200)
    for number, case in enumerate(TRAINING_CASES):
        write_volume(comparison.raw / WEAK / "imagesTr" / f"{case}_0000.nii.gz", noise(3, number))
        write_volume(comparison.raw / WEAK / "labelsTr" / f"{case}.nii.gz", noise(4, number))
    age(write_checkpoint(comparison.checkpoint(comparison.methods[0], 0), num_epochs=1), 100)

    def nnunet(command, *_, **__) -> None:
        preprocessed = folder / "preprocessed" / (WEAK if "501" in command[:3] else DENSE)
        if command[0] == "nnUNetv2_extract_fingerprint":
            write_json(preprocessed / "dataset_fingerprint.json", {})
        elif command[0] == "nnUNetv2_move_plans_between_datasets":
            write_plans(folder, DENSE)
        elif command[0] == "nnUNetv2_preprocess":
            (preprocessed / "nnUNetPlans_3d_fullres").mkdir(exist_ok=True)
            for case in TRAINING_CASES:
                for ending in ("pkl", "b2nd"):
                    (preprocessed / "nnUNetPlans_3d_fullres" / f"{case}.{ending}").touch()
        else:
            for number, case in enumerate(TEST_CASES):
                write_volume(Path(command[command.index("-o") + 1]) / f"{case}.nii.gz", noise(2, number))

    monkeypatch.setattr(run, "run_command", nnunet)
    return comparison


def content(comparison: Comparison) -> dict[str, bytes | None]:
    """What a comparison leaves; None for what holds times and paths."""
    output = comparison.output_folder
    return {
        str(file.relative_to(output)): file.read_bytes() if file.suffix in (".gz", ".csv") else None
        for file in output.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        comparison = prepare(tmp_path_factory.mktemp("undisturbed"), patch)
        compare(comparison, report_only=False)
    return content(comparison)


@pytest.mark.parametrize(
    ("num_bytes", "named"),
    [
        (300, "settings.json"),
        (1500, f"{TEST_CASES[0]}.nii.gz, .*{TEST_CASES[1]}.nii.gz could not be read whole and were removed"),
        (3500, "comparison.json"),
        (20000, "report.html"),
    ],
)
def test_a_full_disk_is_named_and_a_rerun_completes_the_comparison(
    num_bytes, named, undisturbed, tmp_path, monkeypatch
):
    comparison = prepare(tmp_path, monkeypatch)
    with full_disk(num_bytes), pytest.raises((OSError, CommandError), match=named):
        compare(comparison, report_only=False)
    compare(comparison, report_only=False)
    assert content(comparison) == undisturbed
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))
