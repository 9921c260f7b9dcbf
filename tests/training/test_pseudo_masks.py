"""What decides a voxel of a pseudo-mask: the label, the random walker, the network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.nnunet_environment import PLANS, NNUNetEnvironment, build_environment

from nnunetv2_simple.nnunet.versions import load_preprocessed_case, open_dataset
from nnunetv2_simple.pseudo_mask import walk_again
from nnunetv2_simple.training.pseudo_masks import PseudoMaskWriter, agreement_with_walker

CASE, IGNORE = "case_1", 2


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("pseudo_masks"))


@pytest.fixture
def environment(template, tmp_path) -> NNUNetEnvironment:
    shutil.copytree(template.folder, tmp_path, dirs_exist_ok=True)
    return NNUNetEnvironment(tmp_path)


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def label_file(environment: NNUNetEnvironment) -> Path:
    return environment.preprocessed / "gt_segmentations" / f"{CASE}.nii.gz"


def paint(environment: NNUNetEnvironment) -> np.ndarray:
    """A person paints the label: foreground where the walker is sure of none, background where it is sure."""
    image = sitk.ReadImage(str(label_file(environment)))
    label = sitk.GetArrayFromImage(image)
    is_foreground = label == 1
    label[is_foreground] = 0
    label[np.roll(is_foreground, 9, axis=2)] = 1
    label[:2] = IGNORE
    painted = sitk.GetImageFromArray(label)
    painted.CopyInformation(image)
    sitk.WriteImage(painted, str(label_file(environment)))
    return label


def write_mask(environment: NNUNetEnvironment, output_folder: Path, *, walk_again: bool) -> tuple:
    """Write the pseudo-mask of a network that calls every voxel background; return it, and how it agrees."""
    plans = PlansManager(str(environment.preprocessed / f"{PLANS}.json"))
    configuration = plans.get_configuration("3d_fullres")
    dataset = open_dataset(str(environment.preprocessed / configuration.data_identifier), [CASE])
    image, _, properties = load_preprocessed_case(dataset, CASE)
    logits = torch.zeros(2, *image.shape[1:])
    logits[0] = 1
    output_folder.mkdir(exist_ok=True)
    dataset_json = json.loads((environment.preprocessed / "dataset.json").read_text())
    labels = str(environment.preprocessed / "gt_segmentations")
    writer = PseudoMaskWriter(
        plans, configuration, dataset_json, labels, str(output_folder), walk_again, environment.dataset
    )
    agreement = writer.write(CASE, logits, properties)
    return read(output_folder / f"{CASE}.nii.gz"), agreement


def image_file(environment: NNUNetEnvironment) -> Path:
    return environment.dataset / "imagesTr" / f"{CASE}_0000.nii.gz"


def walker_says(environment: NNUNetEnvironment) -> np.ndarray:
    """The walker's decision where the network gives odds of e : 1 for background."""
    image = sitk.ReadImage(str(image_file(environment)))
    (lesion,) = json.loads((environment.dataset / "provenance" / f"{CASE}.json").read_text())["lesions"]
    array = sitk.GetArrayFromImage(image)
    options = {"spacing_mm": image.GetSpacing()[::-1], "axes": lesion["axes_zyx"]}
    network = np.full(array.shape, 1 / (1 + np.e), dtype=np.float32)
    return walk_again(array, lesion["extreme_points_zyx"], network, **options) > 0.5


def test_the_label_of_the_conversion_gives_way_to_the_second_walk(environment, tmp_path):
    mask, _ = write_mask(environment, tmp_path / "masks", walk_again=True)
    np.testing.assert_array_equal(mask == 1, walker_says(environment))
    assert mask.any()


@pytest.mark.parametrize("asked_to_walk", [False, True])
def test_voxels_that_a_person_labelled_stay_as_labelled(environment, tmp_path, asked_to_walk):
    label = paint(environment)
    walker = walker_says(environment)
    assert (walker[label == 0].any(), walker[label == 1].all()) == (True, False)
    mask, _ = write_mask(environment, tmp_path / "masks", walk_again=asked_to_walk)
    expected = np.where(label == IGNORE, walker & asked_to_walk, label)
    np.testing.assert_array_equal(mask, expected)


def test_without_a_record_nobody_knows_who_labelled_and_where_was_clicked(environment, tmp_path):
    shutil.rmtree(environment.dataset / "provenance")
    mask, _ = write_mask(environment, tmp_path / "masks", walk_again=True)
    np.testing.assert_array_equal(mask, read(label_file(environment)) == 1)


@pytest.mark.parametrize("asked_to_walk", [False, True])
def test_a_case_without_image_keeps_its_label_and_is_decided_by_the_network(environment, tmp_path, asked_to_walk):
    image_file(environment).unlink()
    mask, _ = write_mask(environment, tmp_path / "masks", walk_again=asked_to_walk)
    np.testing.assert_array_equal(mask, (read(label_file(environment)) == 1) & asked_to_walk)


def test_agreement_with_the_walker_by_hand():
    mask = np.array([[[0, 1, 1, 2, 3, 0]]])
    walker = np.array([[[0, 1, 1, 1, 2, 0]]])
    # label 1: 2 of 2 and 3 voxels, label 2: none of 1 and 1; label 3 is the ignored one
    assert agreement_with_walker(CASE, mask, walker, [1, 2]) == (CASE, pytest.approx((4 / 5 + 0) / 2), 3 / 4)
    assert agreement_with_walker(CASE, mask, mask, [1, 2]) == (CASE, 1, 1)
    assert agreement_with_walker(CASE, 0 * mask, walker, [1, 2]) == (CASE, 0, 0)
    assert agreement_with_walker(CASE, mask, 0 * walker, [1, 2]) is None


def test_the_agreement_is_with_what_the_baseline_walker_learns(environment, tmp_path):
    """Without what the walker found there is nothing to say."""
    file = environment.dataset / "walkerTr" / f"{CASE}_0001.nii.gz"
    mask, agreement = write_mask(environment, tmp_path / "masks", walk_again=True)
    walker = read(file) > 127
    num_common, num_voxels = (mask[walker] == 1).sum(), (mask == 1).sum()
    assert agreement.case == CASE
    assert agreement.dice == pytest.approx(2 * num_common / (num_voxels + walker.sum()))
    assert agreement.volume == pytest.approx(num_voxels / walker.sum())
    file.unlink()
    assert write_mask(environment, tmp_path / "again", walk_again=True)[1] is None


@pytest.fixture
def trainer(environment, monkeypatch):
    for name, value in environment.variables.items():
        monkeypatch.setenv(name, value)
    splits = [{"train": [f"case_{number}" for number in range(4)], "val": ["case_4"]}]
    (environment.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return get_trainer_from_args("501", "3d_fullres", 0, "SimPLeTrainer_Tiny", PLANS, device=torch.device("cpu"))


def test_cases_without_image_are_said_at_the_start(environment, trainer):
    image_file(environment).unlink()
    trainer.initialize()
    trainer._say_where_pseudo_masks_come_from()
    assert f"extreme points: {CASE}." in Path(trainer.log_file).read_text()


def test_an_image_of_another_size_is_refused_before_the_first_epoch(environment, trainer):
    file = image_file(environment)
    sitk.WriteImage(sitk.ReadImage(str(file))[1:], str(file))
    with pytest.raises(ValueError, match=f"case {CASE} .*{file}"):
        trainer.run_training()
    assert not list(Path(trainer.output_folder).glob("*.pth"))
