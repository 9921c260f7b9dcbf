"""How nnU-Net is told about the trainers: by their folder, or by one module in its own package."""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nnunetv2
import pytest

from nnunetv2_simple.nnunet.trainer_folder import (
    LINK,
    is_linked,
    link,
    link_file,
    main,
    trainer_classes,
    trainer_folder,
)

LOOKUP = """
import sys, warnings
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
with warnings.catch_warnings(record=True) as caught:
    for name in ("SimPLeTrainer", "SimPLeTrainer_CRF_5epochs", "nnUNetTrainer_5epochs"):
        trainer = recursive_find_trainer_class_by_name(name)
        assert trainer.__name__ == name
        print(trainer.__module__)
print([str(warning.message) for warning in caught if "nnunetv2_simple" in str(warning.message)])
"""

FIND = """
import json, sys
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
found = [recursive_find_trainer_class_by_name(name) for name in sys.argv[1:]]
assert all(issubclass(trainer, nnUNetTrainer) for trainer in found)
print(json.dumps([trainer.__name__ for trainer in found]))
"""
LINK_OF_VERSION_0_2_0 = "2a6a4869c194677291873265be039d854f94d9eb3a6c3a6a7ea01a9596af8cb7"  # its sha256


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of nnU-Net's package, in which links are put."""
    folder = tmp_path / "nnunetv2"
    shutil.copytree(nnunetv2.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    monkeypatch.setattr(nnunetv2, "__path__", [str(folder)])
    return folder


def files(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


PHASED = ("SimPLeTrainer", "SimPLeTrainer_CRF", "SimPLeTrainer_Paper") + tuple(
    f"nnUNetTrainerPartialCE{suffix}" for suffix in ("", "_CRF", "_Contrastive")
)
LENGTHS = {
    **dict.fromkeys(
        PHASED, ("", "_5epochs", "_50epochs", "_250epochs", "_400iterations", "_800iterations", "_2000iterations")
    ),
    "nnUNetTrainerCELoss": ("_50epochs", "_250epochs", "_400iterations", "_800iterations", "_2000iterations"),
    "nnUNetTrainer": ("_400iterations", "_800iterations", "_2000iterations"),
}
NAMES = [trainer + length for trainer, lengths in LENGTHS.items() for length in lengths]


def test_the_trainers_can_be_told_apart_and_pickled():
    trainers = trainer_classes()
    assert set(trainers) == set(NAMES)
    for name, trainer in trainers.items():
        assert trainer.__name__ == trainer.__qualname__ == name
        assert pickle.loads(pickle.dumps(trainer)) is trainer


@pytest.mark.slow
def test_nnunets_finder_finds_every_trainer_in_the_folder():
    process = subprocess.run(
        [sys.executable, "-c", FIND, *NAMES],
        env=os.environ | {"nnUNet_extTrainer": str(trainer_folder())},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == NAMES


def test_without_options_the_folder_is_printed(capsys):
    main([])
    assert capsys.readouterr().out == f"{trainer_folder()}\n"


@pytest.mark.slow
def test_nnunets_finder_finds_linked_trainers_and_its_own(package, capsys):
    main(["--link"])
    assert "SimPLeTrainer_CRF_5epochs" in capsys.readouterr().out
    variables = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    process = subprocess.run(
        [sys.executable, "-c", LOOKUP],
        env=variables | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [
        "nnunetv2_simple.trainers.SimPLeTrainer",
        "nnunetv2_simple.trainers.lengths",
        "nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs",
        "[]",
    ]


def test_a_link_is_one_file_that_can_be_put_and_removed_twice(package):
    before = files(package)
    for _ in range(2):
        main(["--link"])
        assert files(package) - before == {link_file()}
    for _ in range(2):
        main(["--unlink"])
        assert files(package) == before


def test_a_link_survives_upgrades():
    """Links were put into nnU-Net's package by version 0.2.0 and still lie there: same text, same import."""
    assert hashlib.sha256(LINK.encode()).hexdigest() == LINK_OF_VERSION_0_2_0


@pytest.mark.parametrize("option", ["--link", "--unlink"])
@pytest.mark.parametrize("content", ["# my own trainers\n", "", LINK + "\nMINE = 1\n"])
def test_a_file_of_somebody_else_is_never_touched(package, option, content):
    link_file().write_text(content)
    with pytest.raises(SystemExit, match="nnunetv2_simple_trainers.py was not written by this version"):
        main([option])
    assert link_file().read_text() == content


def test_a_folder_that_cannot_be_written_to_is_reported(package):
    before = files(package)
    variants = link_file().parent
    variants.rename(variants.with_name("moved"))
    variants.touch()
    with pytest.raises(SystemExit, match="ERROR: nnU-Net's package was not changed: .*Not a directory"):
        main(["--link"])
    assert len(files(package)) == len(before) + 1


def test_an_interrupted_link_leaves_nothing(package, monkeypatch):
    before = files(package)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        link()
    assert files(package) == before
    assert not is_linked()


def import_link():
    spec = importlib.util.spec_from_file_location("linked", link_file())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_after_uninstalling_the_link_is_silent(package, monkeypatch):
    link()
    assert import_link().SimPLeTrainer is trainer_classes()["SimPLeTrainer"]
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunetv2_simple"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])  # not that of an editable installation
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not Path(folder, "nnunetv2_simple").exists()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hasattr(import_link(), "SimPLeTrainer")


def test_trainers_that_cannot_be_imported_do_not_stop_nnunet(package, monkeypatch):
    link()
    monkeypatch.setitem(sys.modules, "nnunetv2_simple.trainers.SimPLeTrainer", None)
    with pytest.warns(UserWarning, match="trainers of nnunetv2_simple cannot be imported: .*SimPLeTrainer"):
        assert not hasattr(import_link(), "SimPLeTrainer")
