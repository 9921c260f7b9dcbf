"""The feature vector Z of every voxel: the input of the decoder's last segmentation layer."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_simple.sampling import VoxelIndices, features_at

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


class VoxelFeatures(NamedTuple):
    """The feature vector Z of every voxel.

    Where Z is tapped before a LeakyReLU, that is undone, as nnU-Net's overwrites what it is given. With a gradient it
    is undone at the voxels looked up only: another volume of features, and one of their gradients, would cost more than
    the loss.

    Attributes:
        values: (B, D, *spatial), what enters the last segmentation layer.
        negative_slope: Of the LeakyReLU to undo; 1: none.
    """

    values: torch.Tensor
    negative_slope: float = 1.0

    def at(self, voxels: VoxelIndices) -> torch.Tensor:
        """Return (number of voxels, D), differentiable."""
        return self._undo_leaky_relu(features_at(self.values, voxels))

    def everywhere(self) -> torch.Tensor:
        """Return (B, D, *spatial), without gradient."""
        return self._undo_leaky_relu(self.values.detach())

    def _undo_leaky_relu(self, features: torch.Tensor) -> torch.Tensor:
        return features if self.negative_slope == 1.0 else F.leaky_relu(features, 1 / self.negative_slope)


class FeatureTap:
    """Keep, at every forward pass, what enters the last 1x1x1 segmentation layer.

    A hook adds no parameters and leaves the network's output alone, so checkpoints and predictions stay ordinary
    nnU-Net ones.

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
        last_layer = segmentation_layers(network)[-1]
        self._negative_slope = 1.0
        if tap == "before_nonlinearity":
            self._negative_slope = _last_leaky_relu(unwrap(network).decoder.stages[-1]).negative_slope
        self._features: torch.Tensor | None = None
        self._hook = last_layer.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._features = inputs[0]

    def pop(self) -> VoxelFeatures:
        """Return the features of the latest forward pass and let go of them."""
        assert self._features is not None, "no forward pass since the features were last taken"
        features, self._features = self._features, None
        return VoxelFeatures(features, self._negative_slope)

    def close(self) -> None:
        """Remove the hook."""
        self._hook.remove()
        self._features = None


def _last_leaky_relu(stage: nn.Module) -> nn.LeakyReLU:
    nonlinearities = [module for module in stage.modules() if isinstance(module, nn.LeakyReLU)]
    if not nonlinearities:
        raise NotImplementedError(
            "features before the nonlinearity can be had of networks with LeakyReLU only; use a trainer whose phases "
            "need no features (nnUNetTrainerPartialCE, nnUNetTrainerPartialCE_CRF) or have tap='after_nonlinearity'"
        )
    return nonlinearities[-1]
