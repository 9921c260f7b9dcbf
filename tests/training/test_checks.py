"""Damaged, misfit and unwritable files at the trainers' boundary: an error that names the file, nothing lost."""

import json
import os
import pickle
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.full_disk import full_disk
from support.nnunet_environment import PLANS, NNUNetEnvironment, build_environment
from support.plain_trainers import LABELS, batch, make_trainer, nnunet_folders, plans  # noqa: F401

from nnunetv2_simple.nnunet.versions import load_preprocessed_case, open_dataset
from nnunetv2_simple.training.checks import check_label_range
from nnunetv2_simple.training.pseudo_masks import PseudoMaskWriter


def test_a_full_disk_leaves_the_checkpoint_before_intact(tmp_path):
    trainer = make_trainer()
    trainer.initialize()
    file = tmp_path / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    before = file.read_bytes()
    with full_disk(len(before) // 2), pytest.raises(OSError, match=f"{file} could not be written"):
        trainer.save_checkpoint(str(file))
    assert file.read_bytes() == before
    trainer.load_checkpoint(str(file))


@pytest.mark.parametrize(
    ("lengths", "epoch", "is_resumed"),
    [((200, 10, 1000), epoch, epoch <= 49) for epoch in (0, 20, 49, 50, 120, 205, 500, 1100)]
    + [((50, 10, 1000), epoch, True) for epoch in (20, 50, 55, 60, 500, 1060)]
    + [((20, 10, 1000), 25, False), ((50, 10, 500), 500, True)],
)
def test_a_training_of_phases_of_other_lengths_is_not_resumed(tmp_path, lengths, epoch, is_resumed):
    trainer = make_trainer()
    trainer.output_folder, trainer.current_epoch = str(tmp_path), epoch
    noted = tuple(replace(phase, num_epochs=length) for phase, length in zip(trainer.phases, lengths, strict=True))
    (tmp_path / "debug.json").write_text(json.dumps({"phase": str(noted[0]), "phases": repr(noted)}))
    refusal = rf"{tmp_path} .* at epoch {epoch}: .*\[{lengths[0]}, 10, 1000\] .*\[50, 10, 1000\]"
    with nullcontext() if is_resumed else pytest.raises(ValueError, match=refusal):
        trainer._check_schedule()
    (tmp_path / "checkpoint_final.pth").touch()  # a finished one has nothing left to do
    trainer._check_schedule()


def test_half_a_debug_json_is_no_reason_to_refuse_a_training(tmp_path):
    trainer = make_trainer()
    trainer.output_folder, trainer.current_epoch = str(tmp_path), 500
    text = json.dumps({"phases": repr(trainer.phases)})
    for end in range(len(text)):
        (tmp_path / "debug.json").write_text(text[:end])
        trainer._check_schedule()


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "other weights", "no weights"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    trainer = make_trainer()
    trainer.initialize()
    file = tmp_path / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    content = file.read_bytes()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        file.write_text("not a checkpoint")
    else:
        checkpoint = torch.load(file, weights_only=False)
        if damage == "other weights":
            checkpoint["network_weights"] = {"layer": torch.zeros(3)}
        else:
            del checkpoint["network_weights"]
        torch.save(checkpoint, file)
    with pytest.raises(ValueError, match=f"{file} cannot be read as a checkpoint of this training"):
        trainer.load_checkpoint(str(file))


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, MemoryError, FileNotFoundError])
def test_a_checkpoint_is_not_blamed_for_what_it_cannot_help(error, tmp_path, monkeypatch):
    trainer = make_trainer()

    def fail(*_, **__):
        raise error("of the machine's")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(error, match="of the machine's"):
        trainer.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))


@pytest.mark.parametrize("seed", range(20))
def test_bytes_changed_at_random_load_or_name_the_file(tmp_path, seed):
    trainer = make_trainer()
    trainer.initialize()
    file = tmp_path / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    generator = np.random.default_rng(seed)
    content = bytearray(file.read_bytes())
    for place in generator.integers(len(content), size=50):
        content[place] = generator.integers(256)
    file.write_bytes(content)
    try:
        trainer.load_checkpoint(str(file))
    except ValueError as error:
        assert str(file) in str(error)


NNUNETS_OWN_WORDS = "not found in plans|Background label not declared|needs a dataset with an 'ignore'|invalid literal"


def places(content: dict, *above: str) -> list[tuple[str, ...]]:
    """Every key of a JSON object, with those above it."""
    below = [place for key, value in content.items() if isinstance(value, dict) for place in places(value, *above, key)]
    return [(*above, key) for key in content] + below


# nnU-Net's command line adds continue_training, no file holds it
PLACES_IN_PLANS = [place for place in places(plans()) if place != ("continue_training",)]
PLACES_IN_DATASET_JSON = [("labels",), ("channel_names",), *(("labels", label) for label in LABELS)]


def damaged(content: dict, place: tuple[str, ...], value) -> dict:
    content = json.loads(json.dumps(content))
    *above, key = place
    parent = reduce(dict.__getitem__, above, content)
    parent[key] = value
    if value == "gone":
        del parent[key]
    return content


@pytest.mark.parametrize("value", ["gone", None, "text"])
@pytest.mark.parametrize("place", PLACES_IN_PLANS, ids=lambda place: "-".join(place[-2:]))
def test_damaged_plans_do_no_harm_or_are_named(place, value):
    try:
        make_trainer(plans=damaged(plans(), place, value)).initialize()
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        assert re.search(rf"json or dataset.json of|No such file.*text|{NNUNETS_OWN_WORDS}", str(error))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (place, value)
        for place in PLACES_IN_DATASET_JSON
        for value in ("gone", None, "text")
        if (place, value) != (("channel_names",), "text")  # four channels to nnU-Net
    ],
)
def test_a_damaged_dataset_json_is_named(place, value):
    content = {"labels": LABELS, "channel_names": {"0": "MR"}, "file_ending": ".nii.gz"}
    with pytest.raises((ValueError, RuntimeError), match=f"json or dataset.json of|{NNUNETS_OWN_WORDS}"):
        make_trainer(dataset_json=damaged(content, place, value)).initialize()


@pytest.mark.parametrize("error", [AssertionError, TypeError, AttributeError, ImportError])
@pytest.mark.parametrize("what", ["moving to the device", "compiling", "optimiser"])
def test_errors_of_torch_are_not_blamed_on_plans(error, what, monkeypatch):
    def fail(*_, **__):
        raise error("of torch")

    trainer = make_trainer()
    if what == "moving to the device":
        monkeypatch.setattr(torch.nn.Module, "to", fail)
    elif what == "compiling":
        monkeypatch.setattr(torch, "compile", fail)
        trainer._do_i_compile = lambda: True
    else:
        monkeypatch.setattr(torch.optim, "SGD", fail)
    with pytest.raises(error, match="^of torch$"):
        trainer.initialize()


def test_a_wrong_seed_is_not_taken_for_damaged_plans(monkeypatch):
    monkeypatch.setenv("nnUNet_simple_seed", "often")
    with pytest.raises(ValueError, match="nnUNet_simple_seed") as caught:
        make_trainer()
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_labels_that_are_none_of_the_datasets_name_the_cases(label):
    broken = batch()
    broken["target"][0][0, 0, 2, 3, 4] = label
    with pytest.raises(ValueError, match="labels of a case must be 0 to 2, but one of one, two in the/folder has"):
        check_label_range(broken, 2, folder="the/folder")
    with pytest.raises(ValueError, match="one of one, two"):
        trainer = make_trainer()
        trainer.initialize()
        trainer.train_step(broken)


def test_labels_of_the_dataset_are_accepted():
    check_label_range(batch(), 2, folder="")
    check_label_range(batch() | {"target": batch()["target"][0]}, 2, folder="")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("refusals"))


@pytest.fixture
def trainer(environment, monkeypatch):
    for name, value in environment.variables.items():
        monkeypatch.setenv(name, value)
    return get_trainer_from_args("501", "3d_fullres", 0, "SimPLeTrainer_Tiny", PLANS, device=torch.device("cpu"))


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("keys", [(0, 1), (0, 1, 2, (-1, 0, 1, 2))], ids=["without ignore", "of another number"])
def test_cases_preprocessed_before_the_labels_were_changed_are_named(environment, trainer, part, keys):
    case = trainer.do_split()[part == "validation"][0]
    properties_file = environment.preprocessed / "nnUNetPlans_3d_fullres" / f"{case}.pkl"
    original = properties_file.read_bytes()
    properties = pickle.loads(original)
    properties["class_locations"] = dict.fromkeys(keys, properties["class_locations"][1])
    properties_file.write_bytes(pickle.dumps(properties))
    try:
        with pytest.raises(ValueError, match=rf"case {case} .* others or had no 'ignore' .*: run nnUNetv2_preprocess"):
            trainer.run_training()
    finally:
        properties_file.write_bytes(original)
    assert not list(Path(trainer.output_folder).glob("*.pth"))


def test_an_unwritable_folder_is_named(environment, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(OSError, match=f"the pseudo-mask {folder}"):
        write_one_mask(environment, folder)


def test_a_vanished_folder_is_named(environment, tmp_path):
    folder = tmp_path / "masks"
    with pytest.raises(OSError, match=f"the pseudo-mask {folder}/.* could not be written"):
        write_one_mask(environment, folder)


def test_a_full_disk_leaves_no_half_pseudo_mask(environment, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    with full_disk(100), pytest.raises(OSError, match=f"the pseudo-mask {folder}/.* could not be written"):
        write_one_mask(environment, folder)
    assert not list(folder.iterdir())


def write_one_mask(environment: NNUNetEnvironment, folder: Path) -> None:
    plans = PlansManager(str(environment.preprocessed / f"{PLANS}.json"))
    configuration = plans.get_configuration("3d_fullres")
    case = "case_0"
    dataset = open_dataset(str(environment.preprocessed / configuration.data_identifier), [case])
    image, _, properties = load_preprocessed_case(dataset, case)
    dataset_json = json.loads((environment.preprocessed / "dataset.json").read_text())
    labels = str(environment.preprocessed / "gt_segmentations")
    writer = PseudoMaskWriter(plans, configuration, dataset_json, labels, str(folder), None, None)
    writer.write(case, torch.randn(2, *image.shape[1:]), properties)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that cannot use a GPU")
def test_nnunets_command_without_cuda_ends_with_torchs_own_words(environment):
    log = environment.folder / "cuda.log"
    command = ["cuda" if word == "cpu" else word for word in environment.train_command("SimPLeTrainer_Tiny")]
    assert environment.start(*command, log=log).wait() != 0
    last_line = log.read_text().strip().splitlines()[-1]
    assert re.match("(AssertionError|RuntimeError): .*(CUDA|NVIDIA)", last_line)
    assert "dataset.json" not in last_line


def test_pretrained_weights_that_do_not_fit_are_refused_before_training(environment, tmp_path):
    """nnU-Net's own check; what was there stays."""
    file = tmp_path / "pretrained.pth"
    torch.save({"network_weights": {"layer": torch.zeros(3)}}, file)
    shutil.rmtree(environment.fold_folder("SimPLeTrainer_Tiny"), ignore_errors=True)
    log = environment.folder / "pretrained.log"
    command = environment.train_command("SimPLeTrainer_Tiny", "-pretrained_weights", str(file))
    assert environment.start(*command, log=log).wait() != 0
    assert "missing in the pretrained model weights" in log.read_text()
