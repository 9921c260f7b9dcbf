"""A prediction's probabilities in the original image, one class at a time."""

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager


class ClassProbabilities:
    """What nnU-Net's export of a prediction calls probabilities, bit for bit with as many threads.

    nnU-Net itself brings all classes to the original image at once, beside a segmentation: 16 + 8 K bytes per voxel for
    K classes. Here it is 8 + 8 K for a moment; the logits in half precision, 2 + 2 K, and 4 for the class stay.

    Args:
        logits: (1 + K, *spatial), as the network predicts them.
        plans_manager: nnU-Net's plans.
        configuration_manager: The network's configuration.
        label_manager: nnU-Net's labels, no regions.
        properties: Of the preprocessed case.
    """

    def __init__(
        self,
        logits: torch.Tensor,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        label_manager: LabelManager,
        properties: dict,
    ):
        spacing = [properties["spacing"][axis] for axis in plans_manager.transpose_forward]
        shape = properties["shape_after_cropping_and_before_resampling"]
        network_spacing = [*spacing[: len(shape) - len(configuration_manager.spacing)], *configuration_manager.spacing]
        resampled = configuration_manager.resampling_fn_probabilities(logits, shape, network_spacing, spacing)
        self._logits, self._softmax = resampled, label_manager.apply_inference_nonlin
        self._properties, self._transpose_backward = properties, plans_manager.transpose_backward

    def __getitem__(self, label: int) -> np.ndarray:
        """Return (z, y, x) float32, the probability of a foreground label; 0 where the image was cropped away."""
        whole = np.zeros(self._properties["shape_before_cropping"], dtype=np.float32)
        crop = self._softmax(self._logits)[label].numpy()  # anew for each, so that the others are not kept meanwhile
        return insert_crop_into_image(whole, crop, self._properties["bbox_used_for_cropping"]).transpose(
            self._transpose_backward
        )
