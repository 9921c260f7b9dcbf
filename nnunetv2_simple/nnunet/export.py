"""nnUNetv2_simple_export: a trained model as a zip file that nnU-Net installs and predicts with, without this package.

A checkpoint names the class that trained it, and nnU-Net predicts only where it finds that class. The trainers of this
package train nnU-Net's own network, so the exported checkpoints name nnU-Net's own trainer, and hold what prediction
and ``-pretrained_weights`` need: weights, plans and mirroring axes, but no optimiser. The weights stay as they are, bit
for bit. nnU-Net itself loads every checkpoint before the zip file is put in its place.
"""

import argparse
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Literal

import torch
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.paths import nnUNet_results

from nnunetv2_simple import __version__
from nnunetv2_simple.arguments import add_flag, command_parser
from nnunetv2_simple.files import PARTIAL, move_into_place, only_one
from nnunetv2_simple.nnunet.datasets import dataset_name
from nnunetv2_simple.nnunet.export_checkpoint import (
    STOCK_TRAINER,
    check_architecture,
    check_nnunet_loads,
    stock_checkpoint,
)
from nnunetv2_simple.nnunet.export_cross_validation import copy_cross_validation, copy_dataset_json

FINAL = "checkpoint_final.pth"
LOCK = ".lock"

Fold = int | Literal["all"]
Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainedModel:
    """A configuration in nnUNet_results, and which checkpoints of it are meant."""

    folder: Path
    configuration: str
    folds: tuple[Fold, ...]
    checkpoint: str

    def checkpoint_file(self, fold: Fold) -> Path:
        return self.folder / f"fold_{fold}" / self.checkpoint


def export_model(
    dataset: str | int,
    output_file: Path,
    *,
    trainer: str = "SimPLeTrainer",
    plans: str = "nnUNetPlans",
    configurations: Sequence[str] | None = None,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = FINAL,
    with_validation: bool = False,
    overwrite: bool = False,
    log: Log = lambda line: None,
) -> list[TrainedModel]:
    """Write a trained model to a zip file for nnUNetv2_install_pretrained_model_from_zip.

    It installs as nnUNetTrainer__<plans>__<configuration>.

    Args:
        dataset: nnU-Net's dataset id or name.
        output_file: The zip file to write.
        trainer: Name of the class that trained the model.
        plans: Name of the plans.
        configurations: nnU-Net's configurations; by default all that have the checkpoint.
        folds: Folds, each an integer or "all"; by default those of each configuration that have the checkpoint.
        checkpoint: File name of the checkpoint. The exported one is checkpoint_final.pth, whichever this is.
        with_validation: Whether to include nnU-Net's validation scores, which name cases and folders of this machine.
        overwrite: Whether to replace an existing output file.
        log: Called with lines of progress.

    Returns:
        What was exported.

    Raises:
        FileExistsError: If the output file exists already.
        FileNotFoundError: If a configuration, a fold, or one of its files is missing.
        BlockingIOError: If another process exports to the same file.
        ValueError: If nnU-Net's own trainer does not build the trainer's network, or a checkpoint cannot be read.
    """
    if not nnUNet_results:
        raise ValueError("nnUNet_results must be set to the folder of nnU-Net's trained models")
    if output_file.is_dir() or (output_file.exists() and not overwrite):
        raise FileExistsError(f"{output_file} exists already; choose another output file, or --overwrite a file")
    source = Path(nnUNet_results) / dataset_name(dataset)
    prefix, stock_prefix = f"{trainer}__{plans}__", f"{STOCK_TRAINER}__{plans}__"
    models = find_models(source, prefix, checkpoint, configurations=configurations, folds=folds, log=log)
    check_architecture(trainer)

    output_file.parent.mkdir(parents=True, exist_ok=True)
    what = f"the export to {output_file}"
    for left_by_interruption in output_file.parent.glob(escape(output_file.name + PARTIAL) + "*"):
        with only_one(left_by_interruption / LOCK, what):  # unless it is at work
            shutil.rmtree(left_by_interruption, ignore_errors=True)
    scratch = tempfile.TemporaryDirectory(prefix=output_file.name + PARTIAL, dir=output_file.parent)
    with scratch as folder, only_one(Path(folder) / LOCK, what):
        target = Path(folder) / "results" / source.name
        for model in models:
            _write_model(model, target / (stock_prefix + model.configuration), trainer, log, with_validation)
        if checkpoint == FINAL:  # the only one nnU-Net validates
            exported = {model.configuration: model.folds for model in models}
            prefixes = {"prefix": prefix, "stock_prefix": stock_prefix}
            for name in copy_cross_validation(source, target, exported, **prefixes, with_scores=with_validation):
                log(name)
        log("compressing")
        archive = shutil.make_archive(str(Path(folder) / "model"), "zip", target.parent)
        move_into_place(archive, output_file)
    return models


def find_models(
    dataset_folder: Path,
    prefix: str,
    checkpoint: str,
    *,
    configurations: Sequence[str] | None,
    folds: Sequence[Fold] | None,
    log: Log,
) -> list[TrainedModel]:
    """Find what is to be exported, and check that every file of it is there.

    Raises:
        FileNotFoundError: If one is not.
    """
    trained = [
        folder.name.removeprefix(prefix)
        for folder in sorted(dataset_folder.glob(escape(prefix) + "*/"))
        if folder.is_dir()
    ]
    models = []
    for configuration in trained if configurations is None else dict.fromkeys(configurations):
        folder = dataset_folder / (prefix + configuration)
        if configuration not in trained:
            raise FileNotFoundError(f"{folder} does not exist; trained configurations: {trained or 'none'}")
        chosen = _finished_folds(folder, checkpoint, log) if folds is None else dict.fromkeys(folds)
        model = TrainedModel(folder, configuration, tuple(chosen), checkpoint)
        if model.folds:
            _check_files(model)
            models.append(model)
        elif configurations is not None:
            raise FileNotFoundError(f"there is no {checkpoint} in any fold of {folder}")
    if not models:
        raise FileNotFoundError(
            f"there is no {checkpoint} in any fold of {dataset_folder / prefix}*; configurations: {trained or 'none'}"
        )
    return models


def _finished_folds(folder: Path, checkpoint: str, log: Log) -> list[Fold]:
    folds = []
    for fold_folder in sorted(folder.iterdir()):
        if name := re.fullmatch(r"fold_(all|\d+)", fold_folder.name):
            if (fold_folder / checkpoint).is_file():
                folds.append(parse_fold(name[1]))
            else:
                log(f"{folder.name}/{fold_folder.name} has no {checkpoint} and is left out")
    return folds


def _check_files(model: TrainedModel) -> None:
    for name in ("plans.json", "dataset.json"):
        if not (model.folder / name).is_file():
            raise FileNotFoundError(f"{model.folder / name} does not exist")
    for fold in model.folds:
        file = model.checkpoint_file(fold)
        if not file.is_file():
            found = sorted(other.name for other in file.parent.glob("checkpoint_*.pth"))
            raise FileNotFoundError(f"{file} does not exist; checkpoints of this fold: {found or 'none'}")


def _write_model(model: TrainedModel, target: Path, trainer: str, log: Log, with_validation: bool) -> None:
    log(f"{model.folder.name} -> {target.name}")
    target.mkdir(parents=True)
    for name in ("plans.json", "dataset_fingerprint.json"):
        if (model.folder / name).is_file():
            shutil.copyfile(model.folder / name, target / name)
    copy_dataset_json(model.folder / "dataset.json", target / "dataset.json")
    origin = {"trainer": trainer, "checkpoint": model.checkpoint, "nnunetv2_simple": __version__}
    save_json(origin, str(target / "exported_from.json"), sort_keys=False)
    for fold in model.folds:
        log(f"fold_{fold}/{model.checkpoint} -> fold_{fold}/{FINAL}")
        checkpoint = stock_checkpoint(model.checkpoint_file(fold), trainer=trainer, configuration=model.configuration)
        (target / f"fold_{fold}").mkdir()
        try:
            torch.save(checkpoint, target / f"fold_{fold}" / FINAL)
        except RuntimeError as error:  # a full disk, for one
            raise OSError(f"fold_{fold}/{FINAL} could not be written to {target.parents[1]}: {error}") from error
        try:
            check_nnunet_loads(target, fold, FINAL)
        except ValueError as error:
            raise ValueError(f"{model.checkpoint_file(fold)}: {error}") from error
        if model.checkpoint == FINAL:
            names = ("progress.png", "validation/summary.json") if with_validation else ("progress.png",)
            _copy_records(model.folder / f"fold_{fold}", target / f"fold_{fold}", names)


def _copy_records(fold_folder: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        if (fold_folder / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(fold_folder / name, target / name)


def parse_fold(text: str) -> Fold:
    return "all" if text == "all" else int(text)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "Write a trained model to a zip file with which nnU-Net predicts where nnunetv2_simple is not installed. "
        "nnUNetv2_install_pretrained_model_from_zip installs it, as a model of nnUNetTrainer.",
        "# all trained configurations and folds of SimPLeTrainer",
        "nnUNetv2_simple_export -d 501 -o model.zip",
        "# one fold, the network before the retraining",
        "nnUNetv2_simple_export -d 501 -o weak.zip -c 3d_fullres -f 0 -chk checkpoint_finetune.pth",
    )
    parser.add_argument("-d", required=True, help="Dataset id or name")
    parser.add_argument("-o", type=Path, required=True, help="Zip file to write")
    parser.add_argument("-tr", default="SimPLeTrainer", help="[OPTIONAL] Trainer. Default: SimPLeTrainer")
    parser.add_argument("-p", default="nnUNetPlans", help="[OPTIONAL] Plans. Default: nnUNetPlans")
    parser.add_argument("-c", nargs="+", help="[OPTIONAL] Configurations. Default: those that have the checkpoint")
    parser.add_argument(
        "-f", type=parse_fold, nargs="+", help="[OPTIONAL] Folds, or all. Default: those that have the checkpoint"
    )
    parser.add_argument(
        "-chk", default=FINAL, help=f"[OPTIONAL] Checkpoint; it is called {FINAL} in the export. Default: {FINAL}"
    )
    add_flag(
        parser, "with-validation", "Include nnU-Net's validation scores, which name cases and folders of this machine"
    )
    parser.add_argument("--overwrite", action="store_true", help="[OPTIONAL] Replace an existing zip file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        models = export_model(
            args.d,
            args.o,
            trainer=args.tr,
            plans=args.p,
            configurations=args.c,
            folds=args.f,
            checkpoint=args.chk,
            with_validation=args.with_validation,
            overwrite=args.overwrite,
            log=partial(print, flush=True),
        )
    except (ValueError, OSError) as error:
        print(f"ERROR: nothing was exported: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted, nothing was exported", file=sys.stderr)
        return 130
    print(f"{args.o}: {args.o.stat().st_size / 1e6:.1f} MB. Where it is to predict:")
    commands = [["nnUNetv2_install_pretrained_model_from_zip", args.o]]
    for model in models:
        options = ["-d", model.folder.parent.name, "-c", model.configuration, "-f", *model.folds, "-p", args.p]
        commands.append(["nnUNetv2_predict", "-i", "INPUT_FOLDER", "-o", "OUTPUT_FOLDER", *options])
    for command in commands:
        print("    " + shlex.join(map(str, command)))
    print(f"It installs as a model of {STOCK_TRAINER}, over one of the same dataset, plans and configuration there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
