"""Where the module that ``nnUNetv2_simple_trainers --link`` puts into nnU-Net's package finds the trainers."""

from nnunetv2_simple.nnunet.trainer_folder import trainer_classes

__all__ = ["trainer_classes"]
