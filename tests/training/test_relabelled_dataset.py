"""Pseudo-masks as the labels of preprocessed cases, without any training."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.plain_trainers import LABELS, plans

from nnunetv2_simple.nnunet.versions import open_dataset
from nnunetv2_simple.training.relabelled_dataset import RelabelledDataset, has_foreground, write_preprocessed_labels

SHAPE, CASES = (6, 8, 10), ("one", "two")
RESAMPLING = {
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
}


@pytest.fixture
def relabel(tmp_path):
    """Two preprocessed cases, of whose images the outermost voxels were cropped; what relabels them."""
    manager = PlansManager(plans(**RESAMPLING))
    configuration = manager.get_configuration("3d_fullres")
    (tmp_path / "preprocessed").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "weak_labels").mkdir()
    properties = {
        "shape_before_cropping": SHAPE,
        "bbox_used_for_cropping": [[1, size - 1] for size in SHAPE],
        "spacing": [3.0, 1.0, 1.0],
    }
    cropped = (1, *(size - 2 for size in SHAPE))
    for case in CASES:
        image, label = np.zeros(cropped, np.float32), np.full(cropped, 2, np.int8)
        label[0, 0, 0, 0] = -1  # outside the non-zero region
        layout = dict.fromkeys(("chunks", "blocks", "chunks_seg", "blocks_seg"), cropped)
        nnUNetDatasetBlosc2.save_case(image, label, properties, str(tmp_path / "preprocessed" / case), **layout)
        write_mask(tmp_path, case, (3, 4, 5))
        shutil.copy(mask_file(tmp_path, case), tmp_path / "weak_labels")

    def run(*, spacing=(3.0, 1.0, 1.0)) -> RelabelledDataset:
        configuration.configuration["spacing"] = list(spacing)
        dataset = open_dataset(str(tmp_path / "preprocessed"), CASES)
        write_preprocessed_labels(
            dataset,
            manager,
            configuration,
            manager.get_label_manager({"labels": LABELS}),
            mask_folder=str(tmp_path / "masks"),
            weak_label_folder=str(tmp_path / "weak_labels"),
            file_ending=".nii.gz",
            output_folder=str(tmp_path / "labels"),
            num_processes=1,
        )
        return RelabelledDataset(dataset, str(tmp_path / "labels"))

    return run


def mask_file(folder, case):
    return folder / "masks" / f"{case}.nii.gz"


def write_mask(folder, case, voxel, *, label=1, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[voxel] = label
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(mask_file(folder, case)))


def test_a_mask_is_cropped_like_its_image_and_says_where_its_foreground_is(relabel):
    image, label, *_, properties = relabel().load_case("one")
    expected = np.zeros((1, 4, 6, 8))
    expected[0, 2, 3, 4] = 1
    expected[0, 0, 0, 0] = -1
    np.testing.assert_array_equal(label[:], expected)
    assert properties["class_locations"][1].tolist() == [[0, 2, 3, 4]]
    assert image.shape == label.shape


def test_only_masks_that_somebody_corrected_are_done_again(relabel, tmp_path):
    relabel()
    before = {case: (tmp_path / "labels" / f"{case}.b2nd").stat().st_mtime_ns for case in CASES}
    write_mask(tmp_path, "two", (2, 2, 2))
    dataset = relabel()
    assert np.argwhere(dataset["two"][1][0] == 1).tolist() == [[1, 1, 1]]
    assert (tmp_path / "labels" / "one.b2nd").stat().st_mtime_ns == before["one"]
    assert dataset.keys() == list(CASES)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"label": 7}, r"\[7(\.0)?\]"), ({"shape": (7, 8, 10)}, r"\(10, 8, 7\)")],
    ids=["label", "shape"],
)
def test_a_mask_that_does_not_fit_is_named(wrong, named, relabel, tmp_path):
    write_mask(tmp_path, "two", (3, 4, 5), **wrong)
    with pytest.raises(ValueError, match=f"two.nii.gz .*{named}"):
        relabel()


def change(file, how):
    sitk.WriteImage(how(sitk.ReadImage(str(file))), str(file))


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR"])
def test_a_mask_that_was_saved_with_other_axes_is_learned_where_it_was_painted(orientation, relabel, tmp_path):
    change(mask_file(tmp_path, "two"), lambda mask: sitk.DICOMOrient(mask, orientation))
    assert np.argwhere(relabel()["two"][1][0] == 1).tolist() == [[2, 3, 4]]


def shifted(mask):
    mask.SetOrigin((0.0, 0.0, 3.0))
    return mask


def stretched(mask):
    mask.SetSpacing((1.0, 1.5, 3.0))
    return mask


@pytest.mark.parametrize("how", [shifted, stretched, lambda mask: mask[:, :, 1:]], ids=["origin", "spacing", "cropped"])
def test_a_mask_on_another_grid_is_refused(how, relabel, tmp_path):
    change(mask_file(tmp_path, "two"), how)
    with pytest.raises(ValueError, match=r"two.nii.gz cannot be used: .* differs"):
        relabel()


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_mask_that_ends_early_is_refused(share, relabel, tmp_path):
    generator = np.random.default_rng(0)
    noise = sitk.GetImageFromArray(generator.integers(2, size=SHAPE).astype(np.uint8))
    noise.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(noise, str(mask_file(tmp_path, "two")))
    content = mask_file(tmp_path, "two").read_bytes()
    mask_file(tmp_path, "two").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="two.nii.gz cannot be used"):
        relabel()


def test_a_label_prepared_for_another_grid_is_made_anew(relabel, tmp_path):
    relabel()
    before = {case: (tmp_path / "labels" / f"{case}.b2nd").stat().st_mtime_ns for case in CASES}
    relabel(spacing=(2.0, 1.0, 1.0))
    assert all((tmp_path / "labels" / f"{case}.b2nd").stat().st_mtime_ns != before[case] for case in CASES)


def test_a_mask_that_was_only_touched_is_not_done_again(relabel, tmp_path):
    relabel()
    before = (tmp_path / "labels" / "two.b2nd").stat().st_mtime_ns
    mask_file(tmp_path, "two").touch()
    relabel()
    assert (tmp_path / "labels" / "two.b2nd").stat().st_mtime_ns == before


@pytest.mark.parametrize("ending", [".npz", ".b2nd"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_label_is_made_anew(ending, share, relabel, tmp_path):
    relabel()
    file = tmp_path / "labels" / f"two{ending}"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert np.argwhere(relabel()["two"][1][0] == 1).tolist() == [[2, 3, 4]]


def test_a_label_knows_whether_it_is_empty(relabel, tmp_path):
    write_mask(tmp_path, "two", (3, 4, 5), label=0)
    relabel()
    assert [has_foreground(str(tmp_path / "labels"), case) for case in CASES] == [True, False]


def test_a_missing_mask_is_named(relabel, tmp_path):
    (tmp_path / "masks" / "two.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="case two"):
        relabel()
