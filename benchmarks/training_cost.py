"""What the phases cost beside nnU-Net's own training: time and memory of a step, and the length of the whole.

    python benchmarks/training_cost.py [-device cuda -patch 128 128 96] [-o training_cost.md]

Real trainers, set up by nnU-Net with its default 3D network (PlainConvUNet, six stages, 32 to 320 features), take
steps on one and the same batch: a bright lesion in noise, labelled like a converted dataset. In every round each
variant takes one step; the ratios are those of a round. The peak memory is that of two steps in a process of their own.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from measuring import device_name, in_own_process, marked, peak_memory_mb, reset_peak_memory, timed
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tqdm import tqdm

from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN, TRAIN_CRF, Phase
from nnunetv2_simple.training.pseudo_masks import predictor_of
from nnunetv2_simple.training.trainer import PhasedTrainer

DATASET, CONFIGURATION = "Dataset999_TrainingCost", "3d_fullres"
NUM_STAGES, MAX_FEATURES = 6, 320
BOX_SHARE = 1 / 3  # of the patch
FOREGROUND_SHARE, UNLABELLED_SHARE = 0.37, 0.32  # of the box, as the robust recipe leaves it on real tumors
MAX_TIME_RATIO, MAX_MEMORY_RATIO, MAX_WHOLE_RATIO = 1.05, 1.10, 1.10
NUM_CASES, TILES_PER_CASE = 100, 27  # an image of twice the patch size along each axis takes 3 x 3 x 3 tiles


class TrainTrainer(PhasedTrainer):
    """L_pce + L_ctr."""

    phases = (TRAIN,)


class TrainCRFTrainer(PhasedTrainer):
    """L_pce + L_crf."""

    phases = (TRAIN_CRF,)


class FinetuneTrainer(PhasedTrainer):
    """L_pce + propagation, with thresholds at which an untrained network propagates most voxels, the costliest case."""

    phases = (replace(FINETUNE, voxel_term=replace(FINETUNE.voxel_term, similarity_threshold=0.0, vote_fraction=0.5)),)


VARIANTS: dict[str, type[nnUNetTrainer]] = {
    "stock": nnUNetTrainer,
    "train": TrainTrainer,
    "train with L_crf": TrainCRFTrainer,
    "fine-tune": FinetuneTrainer,
}


def default_plans(
    patch_size: Sequence[int], batch_size: int, *, spacing_mm: Sequence[float], base_features: int
) -> dict:
    """Return the plans nnU-Net's planner would write, with six stages whatever the patch size.

    Patches that cannot be halved often enough get further stages that keep the resolution.

    Raises:
        ValueError: If nnU-Net would change the patch size.
    """
    _, strides, kernel_sizes, divisible_patch, _ = get_pool_and_conv_props(spacing_mm, patch_size, 4, 999999)
    if tuple(divisible_patch) != tuple(patch_size):
        raise ValueError(f"patch_size must be one nnU-Net would choose, such as {divisible_patch}, got {patch_size}")
    more = max(NUM_STAGES - len(strides), 0)
    strides, kernel_sizes = (*strides, *((1, 1, 1),) * more), (*kernel_sizes, *((3, 3, 3),) * more)
    num_stages = len(strides)
    architecture = {
        "n_stages": num_stages,
        "features_per_stage": [min(base_features * 2**stage, MAX_FEATURES) for stage in range(num_stages)],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": kernel_sizes,
        "strides": strides,
        "n_conv_per_stage": [2] * num_stages,
        "n_conv_per_stage_decoder": [2] * (num_stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "none",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch_size,
        "patch_size": list(patch_size),
        "spacing": list(spacing_mm),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": architecture,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "continue_training": False,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        "configurations": {CONFIGURATION: configuration},
    }


@contextmanager
def nnunet_folders() -> Iterator[None]:
    """Point nnU-Net to empty folders that are removed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder) / name)
        data = Path(folder) / "nnUNet_preprocessed" / DATASET / "none"
        data.mkdir(parents=True)
        (data / "case.b2nd").touch()  # nnU-Net infers the dataset class from the file ending
        yield


def make_trainer(variant: str, plans: dict, device: torch.device) -> nnUNetTrainer:
    """Return an initialised trainer; all have the same weights."""
    torch.manual_seed(0)
    dataset_json = {
        "labels": {"background": 0, "tumor": 1, "ignore": 2},
        "channel_names": {"0": "MR"},
        "file_ending": ".nii.gz",
    }
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        trainer = VARIANTS[variant](dict(plans), CONFIGURATION, 0, dataset_json, device)
        trainer.initialize()
    return trainer


def make_batch(trainer: nnUNetTrainer) -> dict:
    """Return a batch as nnU-Net's data loader would, the same for every trainer of the same plans.

    In the box of the extreme points lies foreground in the middle, background in the corners and unlabelled voxels
    between; the lesion reaches half-way into these.
    """
    configuration = trainer.configuration_manager
    shape = (configuration.batch_size, 1, *configuration.patch_size)
    axes = [torch.linspace(-1, 1, size) / BOX_SHARE ** (1 / 3) for size in configuration.patch_size]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    radius = (z**2 + y**2 + x**2).sqrt()
    in_box = (z.abs() <= 1) & (y.abs() <= 1) & (x.abs() <= 1)
    limits = torch.tensor([0, 0.5, 1]) * UNLABELLED_SHARE + FOREGROUND_SHARE
    foreground_radius, lesion_radius, background_radius = torch.quantile(radius[in_box], limits)
    label = torch.full(radius.shape, 2, dtype=torch.int16)
    label[radius < foreground_radius] = 1
    label[~in_box | (radius > background_radius)] = 0
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 3 * (in_box & (radius < lesion_radius))
    scales = trainer._get_deep_supervision_scales()
    targets = DownsampleSegForDSTransform(scales)(segmentation=label[None])["segmentation"]
    return {
        "data": image.to(trainer.device),
        "target": [target.expand(len(image), *target.shape).to(trainer.device) for target in targets],
    }


def copied(batch: dict) -> dict:
    """Return a copy, as nnU-Net's validation overwrites the ignore label in the target it is given."""
    return {"data": batch["data"].clone(), "target": [target.clone() for target in batch["target"]]}


def train_step(trainer: nnUNetTrainer, batch: dict) -> dict:
    trainer.network.train()
    trainer._iteration = 0  # the fine-tuning lowers its learning rate at every step, down to zero
    return trainer.train_step(batch)


def validation_step(trainer: nnUNetTrainer, batch: dict) -> dict:
    trainer.network.eval()
    with torch.no_grad():
        return trainer.validation_step(batch)


def interleaved_times(
    function: Callable, trainers: Mapping[str, nnUNetTrainer], batch: dict, *, warm_up: int, rounds: int, title: str
) -> dict[str, np.ndarray]:
    """Return the seconds of a step of each variant, round by round."""
    times = {variant: [] for variant in trainers}
    for number in tqdm(range(warm_up + rounds), desc=title, unit="round"):
        for variant, trainer in trainers.items():
            seconds = timed(function, trainer, copied(batch))
            if number >= warm_up:
                times[variant].append(seconds)
    return {variant: np.array(seconds) for variant, seconds in times.items()}


def peak_memory_of_steps(variant: str, plans: dict, device: str) -> tuple[float, float]:
    """Return the peak memory in MB of two steps (momentum is there from the second on) and the share propagated."""
    with nnunet_folders():
        trainer = make_trainer(variant, plans, torch.device(device))
        batch = make_batch(trainer)
        reset_peak_memory(trainer.device)
        for _ in range(2):
            output = train_step(trainer, copied(batch))
        return peak_memory_mb(trainer.device), output.get("propagated_share", float("nan"))


def predict_tile(trainer: nnUNetTrainer, batch: dict) -> None:
    """Predict one patch as for a pseudo-mask, mirrored along all axes."""
    trainer.set_deep_supervision_enabled(False)
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    predictor_of(trainer).predict_sliding_window_return_logits(batch["data"][0].cpu())
    trainer.set_deep_supervision_enabled(True)


def training_seconds(
    phases: Sequence[Phase], step_seconds: Mapping[str, float], validation_seconds: Mapping[str, float]
) -> float:
    """Return how long the training and validation iterations of phases take, given the seconds of one by phase name."""
    return sum(
        phase.num_epochs
        * (
            phase.num_iterations_per_epoch * step_seconds[phase.name]
            + phase.num_val_iterations_per_epoch * validation_seconds[phase.name]
        )
        for phase in phases
    )


def whole_ratio(
    train: str, steps: Mapping[str, np.ndarray], validations: Mapping[str, np.ndarray], seconds_per_tile: float
) -> tuple[float, float]:
    """Return how much longer three phases and their pseudo-masks take than nnU-Net's training; and the masks' part.

    Args:
        train: Which variant is the train phase.
        steps: Seconds of a training iteration of each variant, round by round.
        validations: The same of a validation iteration.
        seconds_per_tile: Of predicting one patch.
    """
    variants = {"train": train, "finetune": "fine-tune", "retrain": "stock"}  # the retraining is nnU-Net's own
    step_s, validation_s = (
        {phase: np.median(times["stock"]) * np.median(ratios(times)[of]) for phase, of in variants.items()}
        for times in (steps, validations)
    )
    stock_s = training_seconds((RETRAIN,), step_s, validation_s)
    masks_s = NUM_CASES * TILES_PER_CASE * seconds_per_tile
    return (training_seconds((TRAIN, FINETUNE, RETRAIN), step_s, validation_s) + masks_s) / stock_s, masks_s / stock_s


def ratios(times: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the ratio of each variant to nnU-Net's own training, round by round."""
    return {variant: seconds / times["stock"] for variant, seconds in times.items()}


def below(ratio: float, mark: float) -> str:
    return marked(f"{ratio:.3f}", reached=ratio <= mark)


def step_table(
    steps: Mapping[str, np.ndarray], validations: Mapping[str, np.ndarray], memory_mb: Mapping[str, float]
) -> list[str]:
    lines = [
        "| | training iteration (s) | ratio, median | smallest to largest | validation iteration, ratio | "
        "peak memory (MB) | ratio |",
        "|" + "---|" * 7,
    ]
    for variant, step_ratios in ratios(steps).items():
        median, memory_ratio = np.median(step_ratios), memory_mb[variant] / memory_mb["stock"]
        lines.append(
            f"| {variant} | {np.median(steps[variant]):.3f} | {below(median, MAX_TIME_RATIO)} | "
            f"{step_ratios.min():.3f} to {step_ratios.max():.3f} | {np.median(ratios(validations)[variant]):.3f} | "
            f"{memory_mb[variant]:.0f} | {below(memory_ratio, MAX_MEMORY_RATIO)} |"
        )
    return lines


def report(
    plans: dict,
    device: str,
    steps: Mapping[str, np.ndarray],
    validations: Mapping[str, np.ndarray],
    memory: Mapping[str, tuple[float, float]],
    seconds_per_tile: float,
) -> list[str]:
    """Return the Markdown section."""
    configuration = plans["configurations"][CONFIGURATION]
    features = configuration["architecture"]["arch_kwargs"]["features_per_stage"]
    lines = [
        "## Training: time and memory",
        "",
        f"{device_name(device)}, torch {torch.__version__}. Patch {configuration['patch_size']}, batch "
        f"{configuration['batch_size']}, voxels of {configuration['spacing']} mm, features {features}. "
        f"{len(steps['stock'])} rounds, {len(validations['stock'])} of validation iterations. Marks: {MAX_TIME_RATIO} "
        f"for time, {MAX_MEMORY_RATIO} for memory; what misses its mark is bold. The fine-tuning propagated "
        f"{memory['fine-tune'][1]:.2f} of the unlabelled voxels.",
        "",
        *step_table(steps, validations, {variant: peak for variant, (peak, _) in memory.items()}),
        "",
        "All three phases of the default schedule beside one nnU-Net training as long as the retraining, computed from "
        f"the schedule and the ratios above (mark {MAX_WHOLE_RATIO}):",
        "",
    ]
    for trainer, train in (("SimPLeTrainer", "train"), ("SimPLeTrainer_CRF", "train with L_crf")):
        ratio, masks = whole_ratio(train, steps, validations, seconds_per_tile)
        lines.append(f"- {trainer}: {below(ratio, MAX_WHOLE_RATIO)}, the pseudo-masks {masks:.4f} of it")
    return [
        *lines,
        "",
        f"The pseudo-masks are counted as {NUM_CASES} training cases of {TILES_PER_CASE} tiles, "
        f"{seconds_per_tile:.3g} s each. The loading of data, the checkpoints and the final validation, of which both "
        "have as much or nearly so, are left out.",
    ]


def measure(plans: dict, device: str, *, warm_up: int, rounds: int) -> list[str]:
    """Measure everything and return the report."""
    memory = {}
    for variant in tqdm(VARIANTS, desc="peak memory", unit="variant"):
        memory[variant] = in_own_process(peak_memory_of_steps, variant, plans, device)
    with nnunet_folders():
        trainers = {variant: make_trainer(variant, plans, torch.device(device)) for variant in VARIANTS}
        batch = make_batch(trainers["stock"])
        steps = interleaved_times(train_step, trainers, batch, warm_up=warm_up, rounds=rounds, title="training")
        validations = interleaved_times(
            validation_step, trainers, batch, warm_up=1, rounds=max(rounds // 3, 1), title="validation"
        )
        timed(predict_tile, trainers["stock"], batch)  # allocates its buffers
        seconds_per_tile = timed(predict_tile, trainers["stock"], batch)
    return report(plans, device, steps, validations, memory, seconds_per_tile)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-device", choices=("cpu", "cuda"), default="cpu", help="Default: cpu")
    parser.add_argument("-patch", type=int, nargs=3, default=[40, 80, 80], help="Patch size. Default: 40 80 80")
    parser.add_argument("-batch", type=int, default=2, help="Batch size. Default: 2")
    parser.add_argument("-spacing", type=float, nargs=3, default=[1.0, 1.0, 1.0], help="In mm. Default: 1 1 1")
    parser.add_argument("-features", type=int, default=32, help="Features of the first stage. Default: 32")
    parser.add_argument("-rounds", type=int, help="Timed rounds. Default: 6; 100 on a GPU")
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args(argv)
    plans = default_plans(args.patch, args.batch, spacing_mm=args.spacing, base_features=args.features)
    on_gpu = args.device == "cuda"
    rounds = args.rounds or (100 if on_gpu else 6)
    lines = measure(plans, args.device, warm_up=5 if on_gpu else 1, rounds=rounds)
    print("\n".join(lines))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
