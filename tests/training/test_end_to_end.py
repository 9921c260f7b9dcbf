"""The main job through nnU-Net's real command line: train, be killed, resume, predict."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from subprocess import Popen

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.nnunet_environment import DATASET, PLANS, NNUNetEnvironment, build_environment

from nnunetv2_simple.nnunet.versions import load_preprocessed_case, open_dataset
from nnunetv2_simple.pseudo_mask import walk_again
from nnunetv2_simple.training.pseudo_masks import write_pseudo_masks
from nnunetv2_simple.training.relabelled_dataset import write_preprocessed_labels

TRAINER = "SimPLeTrainer_Tiny"
PHASES = ("train", "finetune", "retrain")
EPOCHS_PER_PHASE = 3


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def wait_for(text: str, log: Path, process: Popen) -> None:
    while text not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None, f"{text!r} did not appear:\n{log.read_text()[-3000:]}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("nnunet"))


@pytest.fixture(scope="module")
def killed_logs(environment) -> list[str]:
    """Train with one kill -9 in the middle of each phase; the output of every attempt."""
    outputs = []
    for attempt, phase in enumerate(PHASES):
        log = environment.folder / f"attempt_{attempt}.log"
        process = environment.start(*environment.train_command(TRAINER, *(["--c"] if attempt else [])), log=log)
        wait_for(f"Epoch {EPOCHS_PER_PHASE * attempt + 1}", log, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        outputs.append(log.read_text())
        assert f"Phase {phase}:" in outputs[-1]
    outputs.append(environment.run(*environment.train_command(TRAINER, "--c")))
    return outputs


@pytest.fixture(scope="module")
def fold(environment, killed_logs) -> Path:
    return environment.fold_folder(TRAINER)


@pytest.fixture(scope="module")
def training_images(environment) -> Path:
    folder = environment.folder / "training_images"
    folder.mkdir()
    for case in environment.splits["train"]:
        os.symlink(environment.dataset / "imagesTr" / f"{case}_0000.nii.gz", folder / f"{case}_0000.nii.gz")
    return folder


@pytest.fixture(scope="module")
def predictions(environment, fold, training_images) -> dict[str, Path]:
    return {
        phase: environment.predict(TRAINER, f"checkpoint_{name}.pth", training_images, environment.folder / phase)
        for phase, name in (("train", "train"), ("finetune", "finetune"), ("retrain", "final"))
    }


def test_resumed_training_ends_with_every_checkpoint_and_no_leftovers(fold):
    names = {file.name for file in fold.glob("*.pth*")}
    assert names == {"checkpoint_train.pth", "checkpoint_finetune.pth", "checkpoint_final.pth", "checkpoint_best.pth"}


def test_resumed_training_does_every_epoch_of_every_phase_once(fold):
    log = torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"]
    for key in ("train_losses", "segmentation_loss", "propagated_share", "lrs"):
        assert len(log[key]) == EPOCHS_PER_PHASE * len(PHASES), key
    known = np.isfinite([log["segmentation_loss"], log["contrastive"], log["propagated_share"]])
    expected = np.repeat([[1, 1, 1], [1, 0, 0], [0, 1, 0]], EPOCHS_PER_PHASE, axis=1).astype(bool)
    np.testing.assert_array_equal(known, expected)
    np.testing.assert_allclose(np.array(log["lrs"])[::EPOCHS_PER_PHASE], [1e-2, 1e-4, 1e-2])


def test_no_phase_is_started_again_once_it_is_complete(killed_logs):
    for attempt, output in enumerate(killed_logs[1:], start=1):
        for earlier in PHASES[: attempt - 1]:
            assert f"Phase {earlier}:" not in output


def test_progress_is_plotted_beside_nnunets_own(fold):
    assert (fold / "progress.png").is_file()
    assert (fold / "simple_progress.png").is_file()


def test_pseudo_masks_are_written_for_the_training_cases_only(environment, fold):
    written = sorted(file.name.removesuffix(".nii.gz") for file in (fold / "pseudo_masks").iterdir())
    assert written == environment.splits["train"]


def test_pseudo_masks_have_the_geometry_of_the_image(environment, fold):
    for case in environment.splits["train"]:
        mask = sitk.ReadImage(str(fold / "pseudo_masks" / f"{case}.nii.gz"))
        image = sitk.ReadImage(str(environment.dataset / "imagesTr" / f"{case}_0000.nii.gz"))
        for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, what)() == getattr(image, what)()


def test_each_phase_predicts_through_nnunet(environment, predictions):
    for folder in predictions.values():
        assert len(list(folder.glob("*.nii.gz"))) == len(environment.splits["train"])


def test_pseudo_masks_come_from_a_walk_with_the_fine_tuned_network_as_prior(environment, fold, predictions):
    """Where the ellipsoid fits, as here, the network has little say: tests/pseudo_mask/test_walk_again.py."""
    for case in environment.splits["train"]:
        network = np.load(predictions["finetune"] / f"{case}.npz")["probabilities"][1]
        image = sitk.ReadImage(str(environment.dataset / "imagesTr" / f"{case}_0000.nii.gz"))
        record = json.loads((environment.dataset / "provenance" / f"{case}.json").read_text())
        (lesion,) = record["lesions"]
        options = {"spacing_mm": image.GetSpacing()[::-1], "axes": lesion["axes_zyx"]}
        points = lesion["extreme_points_zyx"]
        expected = walk_again(sitk.GetArrayFromImage(image), points, network, **options) > 0.5
        mask = read(fold / "pseudo_masks" / f"{case}.nii.gz")
        assert np.count_nonzero((mask == 1) != expected) <= 2  # rounding at even odds


@pytest.mark.parametrize("asked_to_walk", [False, True])
def test_without_a_walk_the_network_decides(environment, fold, predictions, tmp_path, monkeypatch, asked_to_walk):
    """As in the paper, or what is unlabelled only."""
    monkeypatch.setenv("nnUNet_extTrainer", environment.variables["nnUNet_extTrainer"])
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(fold.parent), (0,), "checkpoint_finetune.pth")
    case = environment.splits["train"][0]
    write_pseudo_masks(
        predictor,
        open_dataset(str(environment.preprocessed / "nnUNetPlans_3d_fullres"), [case]),
        weak_label_folder=str(environment.preprocessed / "gt_segmentations"),
        output_folder=str(tmp_path),
        log=print,
        walk_again=asked_to_walk,
    )
    weak_label = read(environment.dataset / "labelsTr" / f"{case}.nii.gz")
    network = read(predictions["finetune"] / f"{case}.nii.gz")
    kept = weak_label != 2 if asked_to_walk else weak_label == 0
    expected = np.where(kept, weak_label, network)
    np.testing.assert_array_equal(read(tmp_path / f"{case}.nii.gz"), expected)
    assert (expected != weak_label).any()


def test_what_the_pseudo_masks_come_from_is_said_at_the_start(environment, killed_logs):
    assert f"random walks on the images in {environment.dataset}" in killed_logs[0]


def test_how_far_the_pseudo_masks_moved_is_said(environment, killed_logs):
    num_cases = len(environment.splits["train"])
    assert f"({num_cases} of {num_cases} cases): mean Dice" in "".join(killed_logs)


def test_retrained_labels_are_what_nnunets_preprocessing_makes_of_the_pseudo_masks(environment, fold):
    """A second way: nnU-Net's preprocessor on image and pseudo-mask, against the labels the retraining read."""
    plans_manager = PlansManager(str(environment.preprocessed / f"{PLANS}.json"))
    configuration = plans_manager.get_configuration("3d_fullres")
    folder = str(environment.preprocessed / configuration.data_identifier)
    dataset = open_dataset(folder, environment.splits["train"])
    resampled = False
    for case in environment.splits["train"]:
        image = environment.dataset / "imagesTr" / f"{case}_0000.nii.gz"
        mask = fold / "pseudo_masks" / f"{case}.nii.gz"
        _, expected, _ = configuration.preprocessor_class(verbose=False).run_case(
            [str(image)], str(mask), plans_manager, configuration, str(environment.dataset / "dataset.json")
        )
        label = blosc2.open(str(fold / "pseudo_masks_preprocessed" / f"{case}.b2nd"))[:]
        np.testing.assert_array_equal(label, expected)
        assert label.shape == load_preprocessed_case(dataset, case)[1].shape
        resampled |= read(mask).shape != label.shape[1:]
        locations = np.load(fold / "pseudo_masks_preprocessed" / f"{case}.npz")["1"]
        assert len(locations) == (label == 1).sum()
        assert not len(locations) or (label[tuple(locations.T)] == 1).all()
    assert resampled, "no case was resampled, which makes this test weaker than it should be"


def test_a_corrected_pseudo_mask_is_what_the_retraining_learns(environment, fold):
    """Somebody edits a pseudo-mask between the phases: the label on the preprocessed grid follows."""
    plans_manager = PlansManager(str(environment.preprocessed / f"{PLANS}.json"))
    configuration = plans_manager.get_configuration("3d_fullres")
    case = environment.splits["train"][0]
    mask_file = fold / "pseudo_masks" / f"{case}.nii.gz"
    original, label_file = mask_file.read_bytes(), fold / "pseudo_masks_preprocessed" / f"{case}.b2nd"
    label_manager = plans_manager.get_label_manager({"labels": {"background": 0, "tumor": 1, "ignore": 2}})

    def relabel():
        write_preprocessed_labels(
            open_dataset(str(environment.preprocessed / configuration.data_identifier), [case]),
            plans_manager,
            configuration,
            label_manager,
            mask_folder=str(fold / "pseudo_masks"),
            weak_label_folder=str(environment.preprocessed / "gt_segmentations"),
            file_ending=".nii.gz",
            output_folder=str(fold / "pseudo_masks_preprocessed"),
        )

    image = sitk.ReadImage(str(mask_file))
    try:
        corrected = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
        corrected.CopyInformation(image)
        sitk.WriteImage(corrected, str(mask_file))
        os.utime(mask_file, (time.time() + 10, time.time() + 10))
        relabel()
        assert (blosc2.open(str(label_file))[:] == 1).all()
        sitk.WriteImage(corrected + 4, str(mask_file))
        os.utime(mask_file, (time.time() + 20, time.time() + 20))
        with pytest.raises(ValueError, match=rf"{case}.*\[5\.0\]"):
            relabel()
    finally:
        mask_file.write_bytes(original)
        os.utime(mask_file, (time.time() + 30, time.time() + 30))
        relabel()


def test_the_checkpoint_is_an_ordinary_one(fold):
    """Same weights as the stock architecture, so the checkpoint fits where the plugin's trainer is replaced."""
    weights = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert not [name for name in weights if not name.startswith(("encoder.", "decoder."))]


def start_anew_and_kill_at(text, environment):
    log = environment.folder / f"{text}.log"
    process = environment.start(*environment.train_command(TRAINER), log=log)
    try:
        wait_for(text, log, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_training_from_scratch_that_ends_at_once_leaves_an_earlier_one_as_it_was(environment, fold, predictions):
    before = {file: file.read_bytes() for file in fold.rglob("*") if file.suffix in (".pth", ".gz", ".npz", ".b2nd")}
    start_anew_and_kill_at("Epoch 0", environment)
    assert {file: file.read_bytes() for file in before} == before
    shutil.rmtree(fold / "pseudo_masks")  # a finished training needs them no more
    environment.run(*environment.train_command(TRAINER), "--c")


def test_a_training_from_scratch_sets_an_earlier_one_aside(environment, fold, predictions):
    final = (fold / "checkpoint_final.pth").read_bytes()
    start_anew_and_kill_at("Epoch 1", environment)
    (set_aside,) = fold.glob("before_*")
    assert (set_aside / "checkpoint_final.pth").read_bytes() == final
    assert (set_aside / "pseudo_masks_preprocessed").is_dir()
    assert not (fold / "checkpoint_final.pth").exists()
    assert not (fold / "pseudo_masks_preprocessed").exists()
    assert (fold / "checkpoint_best.pth").exists()


def test_the_twin_dataset_trains_nothing_from_references(environment):
    """Nothing preprocessed for training holds a voxel of a dense mask."""
    for file in (environment.preprocessed / "gt_segmentations").glob("*.nii.gz"):
        np.testing.assert_array_equal(read(file), read(environment.dataset / "labelsTr" / file.name))
    assert environment.dataset.name == DATASET
