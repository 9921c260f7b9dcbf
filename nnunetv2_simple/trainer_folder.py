"""nnUNetv2_simple_trainers: where nnU-Net finds the trainers of this package."""

from pathlib import Path

from nnunetv2_simple import trainers


def trainer_folder() -> Path:
    """Return the folder to put into the environment variable nnUNet_extTrainer."""
    return Path(trainers.__path__[0]).resolve()


def main() -> None:
    print(trainer_folder())
