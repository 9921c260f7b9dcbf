"""An nnU-Net trainer that can write pseudo-masks of its training cases, and learn from them with new weights.

    pseudo_masks/               what the network predicts, for people to look at and to correct
    pseudo_masks_preprocessed/  the same on the grid of the preprocessed images, for the data loader
    pretrained_weights.pth      what the new weights start from, if the training was given -pretrained_weights
    before_<date>/              what an earlier training left in the same folder

Several GPUs share the cases; each waits until all masks are there, and ends if another one fails. One training at a
time may have the folder.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.paths import nnUNet_raw
from torch import nn

from nnunetv2_simple.conversion.dataset_files import UNANNOTATED
from nnunetv2_simple.conversion.record import RECORD_FOLDER, read_record
from nnunetv2_simple.files import PARTIAL, only_one, written_atomically
from nnunetv2_simple.images import read_grid
from nnunetv2_simple.nnunet.versions import (
    build_network,
    case_identifiers,
    load_preprocessed_case,
    open_dataset,
)
from nnunetv2_simple.training.checks import MAX_NAMED, cases_without_points
from nnunetv2_simple.training.click_validation import score_case_by_clicks
from nnunetv2_simple.training.feature_tap import unwrap
from nnunetv2_simple.training.pseudo_masks import describe_agreement, predict_case, predictor_of, write_pseudo_masks
from nnunetv2_simple.training.relabelled_dataset import (
    RelabelledDataset,
    WatchfulDataset,
    has_foreground,
    write_preprocessed_labels,
)
from nnunetv2_simple.training.seeding import SeededTrainer, finish

SHARE = ".share_"  # file names: what one of several GPUs has done


class PseudoMaskTrainer(SeededTrainer):
    """Learns the dataset's labels, or pseudo-masks as long as :attr:`learns_pseudo_masks` says so."""

    @property
    def learns_pseudo_masks(self) -> bool:
        """Whether the present epoch learns from pseudo-masks."""
        raise NotImplementedError

    @property
    def pseudo_mask_folder(self) -> str:
        """Where the pseudo-masks of this fold's training cases lie, as NIfTI in the original geometry."""
        return join(self.output_folder, "pseudo_masks")

    def initialize(self) -> None:
        super().initialize()
        self._drawn_weights = _first_weights(self.network)
        self._begins_anew, self._pretrained_weights = False, None
        self._num_shares = 0

    def _note_start(self) -> None:
        self._begins_anew = self.current_epoch == 0 and self.local_rank == 0  # one process looks after the folder
        self._pretrained_weights = self._weights_from_elsewhere() if self._begins_anew else None

    def _own_folder(self) -> None:
        """Leave nothing in the folder that could be mistaken for this training's own, before its first file.

        Not before: a training that ends before its first checkpoint leaves an earlier one as it was, to go on with.
        """
        if not self._begins_anew:
            return
        self._begins_anew = False
        self._set_aside_earlier_training()
        if self._pretrained_weights is not None:
            with written_atomically(Path(self._pretrained_weights_file)) as beside:
                torch.save(self._pretrained_weights, beside)
            self._pretrained_weights = None

    @property
    def _weak_label_folder(self) -> str:
        return join(self.preprocessed_dataset_folder_base, "gt_segmentations")

    def _weak_label_file(self, case: str) -> str:
        return join(self._weak_label_folder, case + self.dataset_json["file_ending"])

    def _training_cases(self) -> list[str]:
        return list(self.do_split()[0])

    def _hold_folder(self) -> None:
        self._held.enter_context(only_one(Path(self.output_folder) / ".lock", f"the training in {self.output_folder}"))

    def run_training(self) -> None:
        with ExitStack() as self._held:
            super().run_training()

    def _share_work(self, work: Callable):
        """Do this process's part of some work; return its result when those of the other GPUs have done theirs.

        Files are waited for, and not messages, because a process group gives up on members that work for longer than
        its timeout.

        Raises:
            RuntimeError: If another process failed, with its error, or was killed.
        """
        if not self.is_ddp:
            return work()
        self._num_shares += 1
        processes = self._of_all_processes(os.getpid())
        names = [f"{SHARE}{processes[0]}_{self._num_shares}_{rank}" for rank in range(len(processes))]
        files = [Path(self.output_folder) / name for name in names]
        error_text = "it was interrupted"
        try:
            result = work()
            error_text = ""
        except Exception as error:
            error_text = f"{type(error).__name__}: {error}"
            raise
        finally:
            with written_atomically(files[self.local_rank]) as beside:
                beside.write_text(error_text)
        _wait_for_notes(files, processes)
        dist.barrier()
        files[self.local_rank].unlink()
        return result

    def _of_all_processes(self, found) -> list:
        """Return what every process of this training has found, in the order of their ranks."""
        if not self.is_ddp:
            return [found]
        of_all = [None] * dist.get_world_size()
        dist.all_gather_object(of_all, found)
        return of_all

    def _lacks_pseudo_masks(self) -> bool:
        if self.current_epoch == 0:  # those that are there are an earlier training's
            return True
        files = [case + self.dataset_json["file_ending"] for case in self._training_cases()]
        return not all(os.path.isfile(join(self.pseudo_mask_folder, file)) for file in files)

    def _own_share(self, cases: list[str]) -> list[str]:
        """Return what falls to this process when several GPUs share the work."""
        return cases[self.local_rank :: dist.get_world_size()] if self.is_ddp else cases

    def _remove_half_written_files(self) -> None:
        for pattern in (f"*{PARTIAL}*", f"pseudo_masks/{PARTIAL}*", f"*_preprocessed/*{PARTIAL}*", f"{SHARE}*"):
            for file in Path(self.output_folder).glob(pattern):
                if f"{SHARE}{os.getpid()}_" not in file.name:  # what another GPU of this training notes, or has noted
                    file.unlink()

    def _set_aside_earlier_training(self) -> None:
        """Move what an earlier training left: ``--c`` must not go on with it, and pseudo-masks may hold corrections."""
        patterns = ("checkpoint_*.pth", "pretrained_weights.pth", "pseudo_masks", "pseudo_masks_preprocessed")
        found = [path for pattern in patterns for path in sorted(Path(self.output_folder).glob(pattern))]
        if found:
            set_aside = Path(self.output_folder) / f"before_{datetime.now():%Y%m%d_%H%M%S}"
            set_aside.mkdir()
            for path in found:
                path.rename(set_aside / path.name)
            self.print_to_log_file(f"What an earlier training left here was moved to {set_aside}")

    # ---- writing ------------------------------------------------------------------------------------------------

    def write_pseudo_masks(self, *, walk_again: bool) -> None:
        """Predict the training cases; return when those of all GPUs are there.

        Args:
            walk_again: See :func:`nnunetv2_simple.training.pseudo_masks.write_pseudo_masks`.
        """
        self._own_folder()
        if self.is_ddp:
            dist.barrier()
        self.set_deep_supervision_enabled(False)
        own = self._share_work(
            lambda: write_pseudo_masks(
                predictor_of(self),
                open_dataset(self.preprocessed_dataset_folder, self._own_share(self._training_cases())),
                weak_label_folder=self._weak_label_folder,
                output_folder=self.pseudo_mask_folder,
                log=self.print_to_log_file,
                walk_again=walk_again,
                converted_dataset_folder=self._converted_dataset(),
            )
        )
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        agreements = [agreement for share in self._of_all_processes(own) for agreement in share]
        if text := describe_agreement(agreements, len(self._training_cases())):
            self.print_to_log_file(text)

    def score_by_clicks(self, cases: Sequence[str]) -> dict[str, dict]:
        """Predict cases and score them against their recorded clicks; several GPUs share them.

        Args:
            cases: Case identifiers, of which clicks are recorded.

        Returns:
            The scores of each case (:func:`nnunetv2_simple.evaluation.click_scores.score_clicks`).
        """
        self.set_deep_supervision_enabled(False)
        predictor = predictor_of(self)
        dataset = open_dataset(self.preprocessed_dataset_folder, self._own_share(list(cases)))

        def score_own_share() -> dict[str, dict]:
            scores = {}
            for case in case_identifiers(dataset):
                logits, properties = predict_case(predictor, dataset, case)
                prediction = convert_predicted_logits_to_segmentation_with_correct_shape(
                    logits, self.plans_manager, self.configuration_manager, self.label_manager, properties
                )
                scores[case] = self._score_by_clicks(case, prediction)
            return scores

        own = self._share_work(score_own_share)
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        return {case: found for share in self._of_all_processes(own) for case, found in share.items()}

    def _score_by_clicks(self, case: str, prediction: np.ndarray) -> dict:
        return score_case_by_clicks(
            read_record(self._converted_dataset(), case), read_grid(self._weak_label_file(case)), prediction
        )

    def _converted_dataset(self) -> Path | None:
        """Return the raw dataset with the records of its conversion; None if nnUNet_raw has none."""
        folder = Path(nnUNet_raw) / self.plans_manager.dataset_name if nnUNet_raw else None
        return folder if folder and (folder / RECORD_FOLDER).is_dir() else None

    def _say_where_pseudo_masks_come_from(self) -> None:
        """Say before any time is spent what pseudo-masks of a second walk will be made of."""
        if folder := self._converted_dataset():
            self.print_to_log_file(
                f"Pseudo-masks will come from random walks on the images in {folder}, with the network as prior"
            )
            if without := cases_without_points(folder, self._training_cases(), self._weak_label_file):
                self.print_to_log_file(
                    f"Cases without images or extreme points: {', '.join(without)}. Their pseudo-masks will keep "
                    "labelled voxels, and the network decides the rest"
                )
        else:
            self.print_to_log_file(
                f"There is no {self.plans_manager.dataset_name}/{RECORD_FOLDER}, which nnUNetv2_simple_convert writes, "
                "in nnUNet_raw: pseudo-masks will keep labelled voxels, and the network decides the rest"
            )

    # ---- new weights --------------------------------------------------------------------------------------------

    @property
    def _pretrained_weights_file(self) -> str:
        return join(self.output_folder, "pretrained_weights.pth")

    def _weights_from_elsewhere(self) -> dict[str, torch.Tensor] | None:
        """Return what -pretrained_weights put into the network: the retraining starts from it as well.

        nnU-Net tells the trainer nothing of it, so that weights other than those drawn are the sign. Its segmentation
        layers are not taken over, as by nnU-Net itself.
        """
        if torch.equal(self._drawn_weights, _first_weights(self.network)):
            return None
        self.print_to_log_file("The retraining will start from the pretrained weights as well")
        weights = unwrap(self.network).state_dict()
        return {name: tensor.cpu().clone() for name, tensor in weights.items() if ".seg_layers." not in name}

    def _draw_new_weights(self) -> None:
        """Overwrite the weights in place, so that DDP and torch.compile wrappers stay valid."""
        network = unwrap(self.network)
        weights = build_network(self).state_dict()
        if os.path.isfile(self._pretrained_weights_file):
            weights |= torch.load(self._pretrained_weights_file, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
        if self.is_ddp:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    # ---- data ---------------------------------------------------------------------------------------------------

    def get_tr_and_val_datasets(self):
        dataset_tr, dataset_val = super().get_tr_and_val_datasets()
        dataset_tr = self._relabelled(dataset_tr) if self.learns_pseudo_masks else WatchfulDataset(dataset_tr)
        return dataset_tr, WatchfulDataset(dataset_val)

    def _relabelled(self, dataset) -> RelabelledDataset:
        label_folder = join(self.output_folder, "pseudo_masks_preprocessed")
        self._share_work(
            lambda: write_preprocessed_labels(
                open_dataset(self.preprocessed_dataset_folder, self._own_share(self._training_cases())),
                self.plans_manager,
                self.configuration_manager,
                self.label_manager,
                mask_folder=self.pseudo_mask_folder,
                weak_label_folder=self._weak_label_folder,
                file_ending=self.dataset_json["file_ending"],
                output_folder=label_folder,
            )
        )
        self._warn_of_unread_files()
        self._check_pseudo_masks_not_empty(dataset, label_folder)
        return RelabelledDataset(dataset, label_folder, has_ignored=self._keeps_ignored_voxels)

    @property
    def _keeps_ignored_voxels(self) -> bool:
        """Whether pseudo-masks hold ignored voxels, because unannotated regions are not background in this dataset."""
        return UNANNOTATED in self.dataset_json

    def _warn_of_unread_files(self) -> None:
        read = {case + self.dataset_json["file_ending"] for case in self._training_cases()}
        found = {file.name for file in Path(self.pseudo_mask_folder).glob("[!.]*")}
        if unread := sorted(found - read):
            self.print_to_log_file(
                f"WARNING: {', '.join(unread)} in {self.pseudo_mask_folder} will not be read: a corrected pseudo-mask "
                f"must have the name of the one it replaces, <case>{self.dataset_json['file_ending']}"
            )

    def _check_pseudo_masks_not_empty(self, dataset, label_folder: str) -> None:
        """Say which pseudo-masks are empty though their label is not; a network that finds no lesion has collapsed."""
        empty = []
        for case in case_identifiers(dataset):
            if not has_foreground(label_folder, case):
                *_, properties = load_preprocessed_case(dataset, case)
                if any(len(properties["class_locations"][label]) for label in self.label_manager.foreground_labels):
                    empty.append(case)
        if not empty:
            return
        names = ", ".join(empty[:MAX_NAMED]) + (", ..." if len(empty) > MAX_NAMED else "")
        text = (
            f"{len(empty)} of {len(case_identifiers(dataset))} pseudo-masks have no foreground although the labels of "
            f"their cases do: {names}"
        )
        if 2 * len(empty) > len(case_identifiers(dataset)):
            raise ValueError(
                f"{text}. The network that predicted them finds no lesion: train its phases longer or with a lower "
                f"learning rate. To continue anyway, correct the masks in {self.pseudo_mask_folder} and use --c"
            )
        self.print_to_log_file(f"WARNING: {text}. Look at them in {self.pseudo_mask_folder}")

    def get_dataloaders(self):
        """As nnU-Net. Patches of pseudo-masks without ignored voxels are drawn as for any dense dataset."""
        label_manager = self.label_manager
        if self.learns_pseudo_masks and not self._keeps_ignored_voxels:
            dense = deepcopy(self.dataset_json)
            del dense["labels"]["ignore"]
            self.label_manager = self.plans_manager.get_label_manager(dense)
        try:
            return super().get_dataloaders()
        finally:
            self.label_manager = label_manager

    def _shut_down_dataloaders(self) -> None:
        for loader in (self.dataloader_train, self.dataloader_val):
            finish(loader)
        self.dataloader_train = self.dataloader_val = None


def _wait_for_notes(files: Sequence[Path], processes: Sequence[int]) -> None:
    """Return when every process has noted that it has done its share; end with the first that notes an error."""
    while True:
        missing = [rank for rank, file in enumerate(files) if not file.is_file()]
        for rank, file in enumerate(files):
            if rank not in missing and (error_text := file.read_text()):
                raise RuntimeError(f"process {rank} of this training failed: {error_text}")
        if not missing:
            return
        for rank in missing:
            if not _is_running(processes[rank]) and not files[rank].is_file():
                raise RuntimeError(f"process {rank} of this training was killed (out of memory?)")
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _first_weights(network: nn.Module) -> torch.Tensor:
    return next(unwrap(network).parameters()).detach().clone()
