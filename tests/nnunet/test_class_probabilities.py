"""The probabilities of one class at a time are those of nnU-Net's own export."""

import numpy as np
import pytest
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_simple.nnunet.class_probabilities import ClassProbabilities

RESAMPLING = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
SHAPE, CROPPED, BOX = (9, 11, 7), (6, 8, 7), [[2, 8], [1, 9], [0, 7]]
SPACINGS_AND_SHAPES = [((2.0, 0.75, 1.5), CROPPED), ((2.5, 1.0, 1.0), (5, 7, 10)), ((1.0, 1.0), (6, 7, 10))]


@pytest.mark.parametrize(("spacing", "shape"), SPACINGS_AND_SHAPES, ids=["same grid", "other grid", "2d"])
def test_they_are_those_of_nnunet_in_the_order_of_the_original_image(spacing, shape):
    resampling = {"resampling_fn_probabilities": "resample_data_or_seg_to_shape"}
    resampling["resampling_fn_probabilities_kwargs"] = RESAMPLING
    plans = PlansManager(
        {
            "transpose_forward": [2, 0, 1],
            "transpose_backward": [1, 2, 0],
            "label_manager": "LabelManager",
            "configurations": {"any": {"spacing": spacing, "architecture": {}} | resampling},
        }
    )
    labels = plans.get_label_manager({"labels": {"background": 0, "mass": 1, "node": 2, "ignore": 3}})
    properties = {
        "spacing": [0.75, 1.5, 2.0],
        "shape_before_cropping": SHAPE,
        "shape_after_cropping_and_before_resampling": CROPPED,
        "bbox_used_for_cropping": BOX,
    }
    logits = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    prediction = (logits, plans, plans.get_configuration("any"), labels, properties)
    options = {"return_probabilities": True, "num_threads_torch": torch.get_num_threads()}  # which decide the last bit
    _, expected = convert_predicted_logits_to_segmentation_with_correct_shape(*prediction, **options)
    found = ClassProbabilities(*prediction)
    for label in (1, 2):
        np.testing.assert_array_equal(found[label], expected[label])
        assert found[label].shape == (11, 7, 9)
