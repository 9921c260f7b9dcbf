"""The plot of what each phase learned, beside nnU-Net's progress.png."""

from collections.abc import Sequence
from os.path import join

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from nnunetv2_simple.phases import Phase, first_epoch

PHASE_COLOURS = ("#e8f1fa", "#fdf1e0", "#eaf5ea")


def plot_phases(phases: Sequence[Phase], values: dict[str, list], output_folder: str) -> None:
    """Write ``simple_progress.png``: loss terms, propagated share, Dice and learning rate over all phases.

    Args:
        phases: The phases of the training.
        values: nnU-Net's log, one value per epoch and key; NaN where a phase has no such term.
        output_folder: Where to write.
    """
    panels = {
        "loss": ("train_losses", "val_losses", "partial_cross_entropy"),
        "voxel terms": ("contrastive", "propagation"),
        "share of unlabelled\nvoxels propagated": ("propagated_share",),
        "pseudo Dice\n(weak labels)": ("mean_fg_dice",),
        "learning rate": ("lrs",),
    }
    figure, axes = plt.subplots(len(panels), 1, figsize=(10, 2.4 * len(panels)), sharex=True, layout="constrained")
    num_epochs = len(values["train_losses"])
    for axis, (title, keys) in zip(axes, panels.items(), strict=True):
        for phase, colour in zip(phases, PHASE_COLOURS * len(phases), strict=False):
            start = first_epoch(phases, phase)
            axis.axvspan(start - 0.5, start + phase.num_epochs - 0.5, color=colour, zorder=0)
        for key in keys:
            axis.plot(values[key], label=key.replace("_", " "), marker="." if num_epochs < 60 else None)
        axis.set_ylabel(title)
        axis.legend(loc="upper right", fontsize="small")
    for phase in phases:
        axes[0].text(
            first_epoch(phases, phase) + phase.num_epochs / 2 - 0.5,
            1.02,
            phase.name,
            ha="center",
            transform=axes[0].get_xaxis_transform(),
        )
    axes[-1].set_yscale("log")
    axes[-1].set_xlabel("epoch")
    axes[0].set_xlim(-0.5, max(sum(phase.num_epochs for phase in phases) - 0.5, 0.5))
    figure.savefig(join(output_folder, "simple_progress.png"), dpi=80)
    plt.close(figure)
