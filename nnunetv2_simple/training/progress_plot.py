"""The plot of what each phase learned, beside nnU-Net's progress.png."""

from collections.abc import Sequence
from os.path import join

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from nnunetv2_simple.training.phases import Phase, first_epoch

PHASE_COLOURS = ("#e8f1fa", "#fdf1e0", "#eaf5ea")


def plot_phases(phases: Sequence[Phase], values: dict[str, list], output_folder: str) -> None:
    """Write ``simple_progress.png``: loss terms, propagated share, Dice and learning rate over all phases.

    Args:
        phases: The phases of the training.
        values: nnU-Net's log, one value per epoch and key; NaN where a phase has no such term.
        output_folder: Where to write.
    """
    panels = {
        "loss": ("train_losses", "val_losses", "segmentation_loss"),
        "voxel terms": ("contrastive", "crf", "propagation"),
        "share of voxels\nthe vote accepts": ("propagated_share", "accepted_positives", "accepted_negatives"),
        "pseudo Dice\n(on weak labels)": ("mean_fg_dice",),
        "learning rate": ("lrs",),
    }
    with plt.style.context("default"):  # nnU-Net's own plot changes the style of the whole process
        figure, axes = plt.subplots(len(panels), 1, figsize=(10, 12), sharex=True, layout="constrained")
        marker = "." if len(values["train_losses"]) < 60 else None
        for axis, (title, keys) in zip(axes, panels.items(), strict=True):
            for phase, colour in zip(phases, PHASE_COLOURS, strict=False):
                start = first_epoch(phases, phase) - 0.5
                axis.axvspan(start, start + phase.num_epochs, color=colour, zorder=0)
            for key in keys:
                axis.plot(values[key], label=key.replace("_", " "), marker=marker)
            axis.set_ylabel(title)
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for phase in phases:
            middle = first_epoch(phases, phase) + phase.num_epochs / 2 - 0.5
            axes[0].text(middle, 1.03, phase.name, ha="center", transform=axes[0].get_xaxis_transform())
        axes[0].set_xlim(-0.5, sum(phase.num_epochs for phase in phases) - 0.5)
        axes[-1].set_yscale("log")
        axes[-1].set_xlabel("epoch")
        figure.savefig(join(output_folder, "simple_progress.png"), dpi=80)
        plt.close(figure)
