"""What is compared: every row of the paper's Table 1 and the baselines. Data, not code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FULL_SUPERVISION = "full"  # the method every other one is measured against
PAPER = "Zhong & Wang, SimPLe, MICCAI 2023, Table 1"


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        key: Its name on the command line and in the output folder.
        title: Its name in tables.
        labels: The dataset it learns from. "weak": the converted dataset; "dense": its fully supervised twin; "walker",
            "ellipsoid", "paper": see :mod:`nnunetv2_simple.conversion.baselines`.
        trainer: The trainer, without the suffix of a length.
        checkpoint: Which of the trainer's checkpoints predicts; several methods may share one training.
        annotation: What a person did per case.
        role: "paper": a row of the paper's table, or what belongs to it; "baseline"; "full supervision".
        paper_dice: Mean and standard deviation the paper reports, from 0 to 1, on the paper's data.
        paper_jaccard: As above.
    """

    key: str
    title: str
    labels: Literal["weak", "dense", "walker", "ellipsoid", "paper"]
    trainer: str
    checkpoint: str = "checkpoint_final.pth"
    annotation: Literal["six clicks", "dense mask"] = "six clicks"
    role: Literal["paper", "baseline", "full supervision"] = "paper"
    paper_dice: tuple[float, float] | None = None
    paper_jaccard: tuple[float, float] | None = None


TRAINED, FINE_TUNED = "checkpoint_train.pth", "checkpoint_finetune.pth"

METHODS = (
    Method(
        *("pce_crf", "L_pce + L_crf", "weak", "SimPLeTrainer_CRF", TRAINED),
        paper_dice=(0.6497, 0.2866),
        paper_jaccard=(0.5383, 0.2726),
    ),
    Method(
        *("pce_ctr", "L_pce + L_ctr", "weak", "SimPLeTrainer", TRAINED),
        paper_dice=(0.6939, 0.2409),
        paper_jaccard=(0.5736, 0.2331),
    ),
    Method("pce_crf_finetune", "L_pce + L_crf, fine-tuned", "weak", "SimPLeTrainer_CRF", FINE_TUNED),
    Method("pce_ctr_finetune", "L_pce + L_ctr, fine-tuned", "weak", "SimPLeTrainer", FINE_TUNED),
    Method(
        *("simple_crf", "L_pce + L_crf + SimPLe", "weak", "SimPLeTrainer_CRF"),
        paper_dice=(0.7971, 0.1772),
        paper_jaccard=(0.6899, 0.1884),
    ),
    Method(
        *("simple", "L_pce + L_ctr + SimPLe", "weak", "SimPLeTrainer"),
        paper_dice=(0.8120, 0.1328),
        paper_jaccard=(0.7001, 0.1502),
    ),
    Method("paper_train", "the paper's setting, train phase", "paper", "SimPLeTrainer_Paper", TRAINED),
    Method("simple_paper", "the paper's setting", "paper", "SimPLeTrainer_Paper"),
    Method("pce", "L_pce", "weak", "nnUNetTrainerPartialCE", role="baseline"),
    Method("ignore", "stock nnU-Net, ignore label (partial Dice + CE)", "weak", "nnUNetTrainer", role="baseline"),
    Method("walker", "stock nnU-Net on the random walker's result", "walker", "nnUNetTrainer", role="baseline"),
    Method("ellipsoid", "stock nnU-Net on the inscribed ellipsoid", "ellipsoid", "nnUNetTrainer", role="baseline"),
    Method(
        *("full_ce", "full supervision, cross-entropy (the paper's loss)", "dense", "nnUNetTrainerCELoss"),
        annotation="dense mask",
        role="full supervision",
        paper_dice=(0.8152, 0.1940),
        paper_jaccard=(0.7210, 0.2045),
    ),
    Method(
        *(FULL_SUPERVISION, "full supervision", "dense", "nnUNetTrainer"),
        annotation="dense mask",
        role="full supervision",
    ),
)


def choose_methods(keys: Sequence[str] | None, *, has_dense: bool) -> tuple[Method, ...]:
    """Return the methods of some keys, in the order of the table.

    Args:
        keys: What was asked for; None: everything there are labels for.
        has_dense: Whether there is a dataset of dense masks.

    Raises:
        ValueError: For unknown keys, no key at all, and methods that learn dense masks where there are none.
    """
    if keys is None:
        return tuple(method for method in METHODS if has_dense or method.labels != "dense")
    known = [method.key for method in METHODS]
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        raise ValueError(f"the methods are {', '.join(known)}; got {' '.join(unknown) or 'none'}")
    chosen = tuple(method for method in METHODS if method.key in keys)
    dense = [method.key for method in chosen if method.labels == "dense"]
    if dense and not has_dense:
        raise ValueError(f"{', '.join(dense)} learn from dense masks; give their dataset with -dense")
    return chosen
