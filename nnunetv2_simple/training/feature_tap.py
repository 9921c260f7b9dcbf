"""The feature vector Z of every voxel: the input of the decoder's last segmentation layer."""

from typing import Literal

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

Tap = Literal["after_nonlinearity", "before_nonlinearity"]


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside DistributedDataParallel and torch.compile wrappers."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    if isinstance(network, OptimizedModule):
        network = network._orig_mod
    return network


def segmentation_layers(network: nn.Module) -> nn.ModuleList:
    """Return the 1x1x1 layers at the end of each stage of the decoder.

    Raises:
        NotImplementedError: If the network has no ``decoder.seg_layers``.
    """
    found = getattr(getattr(unwrap(network), "decoder", None), "seg_layers", None)
    if found is None:
        raise NotImplementedError(
            f"{type(unwrap(network)).__name__} has no decoder with seg_layers, so its voxel features cannot be tapped; "
            f"use an architecture with nnU-Net's U-Net decoder"
        )
    return found


class FeatureTap:
    """Keep, at every forward pass, the feature vector Z of every voxel.

    A hook adds no parameters and leaves the network's output alone, so checkpoints and predictions stay ordinary
    nnU-Net ones. While Z is tapped before a LeakyReLU, that does not overwrite what it is given: undoing it would
    multiply by 100, and the gradient would not fit into half precision.

    Args:
        network: A network with nnU-Net's decoder, possibly wrapped by DDP or torch.compile.
        tap: "after_nonlinearity", the input of the segmentation layer itself, or "before_nonlinearity", what entered
            the LeakyReLU that this layer's input has left.

    Raises:
        NotImplementedError: If the network has no ``decoder.seg_layers``, or no LeakyReLU to tap before.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.2.
    """

    def __init__(self, network: nn.Module, tap: Tap = "after_nonlinearity"):
        self._tapped = segmentation_layers(network)[-1]
        if tap == "before_nonlinearity":
            self._tapped = _last_leaky_relu(unwrap(network).decoder.stages[-1])
        self._was_in_place = getattr(self._tapped, "inplace", None)
        if self._was_in_place:
            self._tapped.inplace = False
        self._features: torch.Tensor | None = None
        self._hook = self._tapped.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._features = inputs[0]

    def pop(self) -> torch.Tensor:
        """Return the features (B, D, *spatial) of the latest forward pass and let go of them."""
        assert self._features is not None, "no forward pass since the features were last taken"
        features, self._features = self._features, None
        return features

    def close(self) -> None:
        """Leave the network as it was."""
        self._hook.remove()
        if self._was_in_place:
            self._tapped.inplace = True
        self._features = None


def _last_leaky_relu(stage: nn.Module) -> nn.LeakyReLU:
    nonlinearities = [module for module in stage.modules() if isinstance(module, nn.LeakyReLU)]
    if not nonlinearities:
        raise NotImplementedError(
            "features before the nonlinearity can be had of networks with LeakyReLU only; use a trainer whose phases "
            "need no features (nnUNetTrainerPartialCE, nnUNetTrainerPartialCE_CRF) or have tap='after_nonlinearity'"
        )
    return nonlinearities[-1]
