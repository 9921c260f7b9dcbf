"""What nnUNetv2_simple_trainers --check finds of installations that fit and of others."""

import os
import sys

import nnunetv2
import pytest
import torch

from nnunetv2_simple.nnunet import installation
from nnunetv2_simple.nnunet.trainer_folder import link_file, main, trainer_folder


@pytest.fixture(autouse=True)
def named_trainers(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer_folder()))


def found(about):
    (finding,) = [finding for finding in installation.check_installation() if finding.about == about]
    return finding


def pretend_version(monkeypatch, nnunet):
    monkeypatch.setattr(installation, "version", lambda name: nnunet)


def pretend_cuda(monkeypatch, *, build, driver, device=None):
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    monkeypatch.setattr(installation.shutil, "which", lambda name: name if driver else None)


def test_this_installation_fits(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--check"])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0, lines
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("torch:", "CUDA:", "torchvision:", "nnunetv2:", "trainers:")
    ]


@pytest.mark.parametrize(
    ("cuda", "fits", "named"),
    [
        ({"build": None, "driver": False}, True, "-device cpu"),
        ({"build": "13.0", "driver": False}, True, "-device cpu"),
        ({"build": "13.0", "driver": True, "device": "H100"}, True, "H100"),
        ({"build": None, "driver": True}, False, "built for CPUs"),
        ({"build": "13.0", "driver": True}, False, "13.0"),
    ],
)
def test_torch_must_be_built_for_the_gpu_that_is_there(cuda, fits, named, monkeypatch):
    pretend_cuda(monkeypatch, **cuda)
    finding = found("CUDA")
    assert named in finding.found
    assert (finding.advice is None) == fits


def test_torchvision_of_another_torch_is_a_problem(monkeypatch, tmp_path, capsys):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as end:
        main(["--check"])
    assert end.value.code == 1
    printed = capsys.readouterr().out
    assert "PROBLEM  torchvision: does not import: RuntimeError: operator torchvision::nms does not exist" in printed
    assert "one index" in printed


def test_without_torch_nothing_else_is_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = installation.check_installation()
    assert (finding.about, finding.advice is None) == ("torch", False)


@pytest.mark.parametrize(
    ("nnunet", "torch_version", "fits"),
    [("2.4.2", (2, 1, 2), False), ("2.5.2", (2, 5, 1), True), ("2.5.2", (2, 6, 0), False), ("2.6.4", (2, 13, 0), True)],
)
def test_nnunet_and_torch_must_fit(nnunet, torch_version, fits, monkeypatch):
    pretend_version(monkeypatch, nnunet)
    finding = installation._check_nnunet(torch_version)
    assert (finding.found, finding.advice is None) == (nnunet, fits)


@pytest.mark.parametrize("folders", [(), ("elsewhere",)])
def test_trainers_that_nobody_names_are_a_problem(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(str(tmp_path / folder) for folder in folders))
    finding = found("trainers")
    assert "nnUNet_extTrainer" in finding.advice
    assert all(folder in finding.found for folder in folders)


def test_old_nnunet_needs_the_link(monkeypatch):
    pretend_version(monkeypatch, "2.7.0")
    assert "--link" in found("trainers").advice


def test_linked_trainers_need_no_variable(monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer")
    monkeypatch.setattr(installation, "is_linked", lambda: True)
    finding = found("trainers")  # nnU-Net looks where there is no link
    assert str(link_file()) in finding.found
    assert finding.advice is not None


def test_a_file_of_somebody_else_in_the_links_place_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(nnunetv2, "__path__", [str(tmp_path)])
    link_file().parent.mkdir(parents=True)
    link_file().write_text("mine")
    assert str(link_file()) in found("trainers").advice


def test_trainers_that_do_not_import_are_a_problem(monkeypatch):
    from nnunetv2_simple.nnunet import versions

    def fail(name):
        raise ImportError("no module named timm")

    monkeypatch.setattr(versions, "find_trainer_class", fail)
    finding = found("trainers")
    assert "timm" in finding.found
    assert finding.advice is not None
