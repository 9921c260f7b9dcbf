"""CT must be called CT."""

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import oblique_image, run, tumor_mask, write

from nnunetv2_simple.conversion.channel_names import ct_warnings


def write_ct_case(folder, identifier, *, air=-1000):
    intensities = np.random.default_rng(0).normal(40, 8, tumor_mask().shape) + 30 * tumor_mask()
    intensities[:, :2] = air
    write(oblique_image(intensities.round().astype(np.int16)), folder / "images" / f"{identifier}_0000.nii.gz")
    write(oblique_image(tumor_mask().astype(np.uint8)), folder / "masks" / f"{identifier}.nii.gz")


def warnings_of(folder, monkeypatch, capsys, *options, num=5):
    arguments = ["-i", folder / "images", "-m", folder / "masks", "-d", num, "-n", "Some", *options]
    assert run(monkeypatch, folder / "raw", *arguments) == 0
    captured = capsys.readouterr()
    return [line for line in (captured.out + captured.err).splitlines() if line.startswith("WARNING")]


@pytest.mark.parametrize("option", ["--dry-run", "--overwrite"])
def test_ct_that_is_not_called_ct_is_reported_once(option, tmp_path, monkeypatch, capsys):
    for identifier in ("a", "b"):
        write_ct_case(tmp_path, identifier)
    write_ct_case(tmp_path, "c", air=-490)
    (warning,) = warnings_of(tmp_path, monkeypatch, capsys, option)
    assert warning.startswith("WARNING a, b: ")
    assert "channel 0 is called MR" in warning
    assert warning.endswith("-channels CT")
    assert warnings_of(tmp_path, monkeypatch, capsys, option, "-channels", "CT", num=6) == []


@pytest.mark.parametrize(
    ("name", "is_reported"),
    [
        ("MR", True),
        ("CTA", True),
        ("CT_venous", True),
        ("low-dose-CT", True),
        ("CT", False),
        ("ct", False),
        ("phase", False),
        ("subtracted", False),
        ("noNorm", False),
    ],
)
def test_names_that_state_another_modality_are_believed(name, is_reported):
    channels = [sitk.Image(3, 3, 3, sitk.sitkInt16), sitk.Image(3, 3, 3, sitk.sitkInt16) - 501]
    assert bool(list(ct_warnings(channels, ["MR", name]))) == is_reported
    assert list(ct_warnings(channels[:1], [name])) == []


def test_the_help_says_what_ct_must_be_called(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "-h")
    assert "CT must be called CT" in " ".join(capsys.readouterr().out.split())
