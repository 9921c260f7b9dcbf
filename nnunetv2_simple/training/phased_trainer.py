"""An nnU-Net trainer that goes through several phases in one run.

Epochs are counted over all phases, so nnU-Net's loop, logs, checkpoints and ``--c`` work as they are: the epoch alone
tells the phase. Between two phases

    1. checkpoint_latest.pth is written: from here on ``--c`` starts with step 2,
    2. the finished phase's weights are kept as checkpoint_<phase>.pth,
    3. before a phase that learns pseudo-masks these are predicted (those already there are kept), and the weights
       are drawn anew,
    4. optimiser, learning rate and loss of the next phase are set up.

Every step may be interrupted and repeated.
"""

import os
import time
from copy import deepcopy
from datetime import datetime
from functools import wraps
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.distributed as dist
from batchgenerators.utilities.file_and_folder_operations import isdir, join
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_simple.nnunet_versions import (
    build_network,
    case_identifiers,
    load_preprocessed_case,
    logged_values,
    open_dataset,
)
from nnunetv2_simple.training.feature_tap import FeatureTap, unwrap
from nnunetv2_simple.training.phase_loss import PartialCrossEntropyLoss, PhaseLoss
from nnunetv2_simple.training.phases import Phase, first_epoch, phase_at
from nnunetv2_simple.training.progress_plot import plot_phases
from nnunetv2_simple.training.retraining import (
    PARTIAL_PSEUDO_MASK,
    RelabelledDataset,
    wait_for_labels,
    write_preprocessed_labels,
    write_pseudo_masks,
)
from nnunetv2_simple.training.seeding import SeededTrainer, finish
from nnunetv2_simple.walker_evidence import WALKER_FOLDER

LOGGED_TERMS = (
    "segmentation_loss",
    "contrastive",
    "crf",
    "propagation",
    "propagated_share",
    "accepted_positives",
    "accepted_negatives",
)


class PhasedTrainer(SeededTrainer):
    """Trains :attr:`phases` one after the other. Subclasses name the phases and nothing else.

    Raises:
        NotImplementedError: For cascades, region-based labels and networks without nnU-Net's decoder.
        ValueError: For a dataset without an ignore label.
    """

    phases: tuple[Phase, ...]

    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._refuse_unsupported()
        self.num_epochs = sum(phase.num_epochs for phase in self.phases)
        self._feature_tap: FeatureTap | None = None
        self._iteration = 0
        for key in LOGGED_TERMS:
            logged_values(self)[key] = []

    @property
    def phase(self) -> Phase:
        """The phase of the current epoch."""
        return phase_at(self.phases, self.current_epoch)

    @property
    def pseudo_mask_folder(self) -> str:
        """Where the pseudo-masks of this fold's training cases lie, as NIfTI in the original geometry."""
        return join(self.output_folder, "pseudo_masks")

    def _refuse_unsupported(self) -> None:
        name = type(self).__name__
        if self.is_cascaded:
            raise NotImplementedError(f"{name} cannot train cascades, use the configuration 3d_fullres or 3d_lowres")
        if self.label_manager.has_regions:
            raise NotImplementedError(f"{name} cannot train region-based labels, declare each label as one integer")
        if not self.label_manager.has_ignore_label:
            raise ValueError(
                f"{name} needs a dataset with an 'ignore' label for the unlabelled voxels, but the labels of "
                f"{self.plans_manager.dataset_name} are {self.dataset_json['labels']}; nnUNetv2_simple_convert "
                f"writes such datasets"
            )

    def _check_preprocessed_labels(self) -> None:
        """Data preprocessed without an ignore label lack what nnU-Net's data loader looks up: a KeyError later on."""
        dataset = open_dataset(self.preprocessed_dataset_folder, self._training_cases())
        for case in case_identifiers(dataset):
            *_, properties = load_preprocessed_case(dataset, case)
            if not any(isinstance(key, tuple) for key in properties["class_locations"]):
                raise ValueError(
                    f"case {case} in {self.preprocessed_dataset_folder} was preprocessed when its labels had no "
                    f"'ignore': run nnUNetv2_preprocess -d {self.plans_manager.dataset_name} -plans_name "
                    f"{self.plans_manager.plans_name} -c {self.configuration_name} again"
                )

    # ---- setting up a phase -------------------------------------------------------------------------------------

    def initialize(self) -> None:
        super().initialize()
        self._drawn_weights = _first_weights(self.network)
        self._set_up_phase()

    def configure_optimizers(self):
        self.initial_lr = self.phase.initial_lr
        optimizer, _ = super().configure_optimizers()
        return optimizer, self._lr_scheduler(optimizer)

    def _lr_scheduler(self, optimizer: torch.optim.Optimizer) -> PolyLRScheduler:
        phase = self.phase
        return PhasePolyLRScheduler(optimizer, phase.initial_lr, phase.num_epochs, first_epoch(self.phases, phase))

    def _build_loss(self):
        loss = super()._build_loss()
        if self.phase.labels == "pseudo_masks" or self.phase.segmentation_loss == "dice_ce":
            return loss  # nnU-Net's own, which leaves ignored voxels out
        partial_cross_entropy = PartialCrossEntropyLoss(self.label_manager.ignore_label)
        if self.enable_deep_supervision:
            loss.loss = partial_cross_entropy
        else:
            loss = partial_cross_entropy
        return loss

    def _set_up_phase(self) -> None:
        """Set whatever follows from the phase and is not restored from a checkpoint."""
        phase = self.phase
        self.num_iterations_per_epoch = phase.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = phase.num_val_iterations_per_epoch
        self.lr_scheduler = self._lr_scheduler(self.optimizer)
        self.loss = self._build_loss()
        self._close_feature_tap()
        if phase.labels == "weak":
            if phase.voxel_term is not None:
                self._feature_tap = FeatureTap(self.network, phase.tap)
            self.loss = PhaseLoss(
                self.loss,
                phase.voxel_term,
                self._feature_tap,
                foreground_labels=self.label_manager.foreground_labels,
                ignore_label=self.label_manager.ignore_label,
                spacing_mm=self.configuration_manager.spacing[-len(self.configuration_manager.patch_size) :],
            )
        if self._do_i_compile():
            torch._dynamo.reset()  # a compiled network keeps the hooks it was compiled with

    def _close_feature_tap(self) -> None:
        if self._feature_tap is not None:
            self._feature_tap.close()
            self._feature_tap = None

    # ---- from one phase to the next -----------------------------------------------------------------------------

    def _starts_phase(self) -> bool:
        return self.current_epoch == first_epoch(self.phases, self.phase)

    def _begin_phase(self) -> None:
        """Turn what the previous phase left into the start of the present one."""
        index = self.phases.index(self.phase)
        if index > 0:
            self._save_checkpoint_before_epoch(f"checkpoint_{self.phases[index - 1].name}.pth")
        self.print_to_log_file(f"Phase {self.phase.name}: {self.phase}")
        if self.phase.labels == "pseudo_masks":
            self._close_feature_tap()
            self._write_pseudo_masks()
            self._draw_new_weights()
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self._best_ema = None
        self._set_up_phase()

    def _save_checkpoint_before_epoch(self, name: str) -> None:
        """Save a checkpoint that continues with the current epoch (nnU-Net stores the one after it)."""
        self.current_epoch -= 1
        self.save_checkpoint(join(self.output_folder, name))
        self.current_epoch += 1

    def _write_pseudo_masks(self) -> None:
        self.set_deep_supervision_enabled(False)
        predictor = nnUNetPredictor(device=self.device, allow_tqdm=False)
        predictor.manual_initialization(
            unwrap(self.network).eval(),
            self.plans_manager,
            self.configuration_manager,
            None,
            self.dataset_json,
            type(self).__name__,
            self.inference_allowed_mirroring_axes,
        )
        write_pseudo_masks(
            predictor,
            open_dataset(self.preprocessed_dataset_folder, self._own_share(self._training_cases())),
            weak_label_folder=join(self.preprocessed_dataset_folder_base, "gt_segmentations"),
            output_folder=self.pseudo_mask_folder,
            log=self.print_to_log_file,
            network_weight=self.phase.network_weight,
            walker_dataset_folder=self._walker_dataset_folder(),
        )
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        if self.is_ddp:
            for case in self._training_cases():
                while not os.path.isfile(self._pseudo_mask_file(case)):
                    time.sleep(0.1)
            dist.barrier()

    def _training_cases(self) -> list[str]:
        return list(self.do_split()[0])

    def _own_share(self, cases: list[str]) -> list[str]:
        """Return what falls to this process when several GPUs share the work."""
        return cases[self.local_rank :: dist.get_world_size()] if self.is_ddp else cases

    def _pseudo_mask_file(self, case: str) -> str:
        return join(self.pseudo_mask_folder, case + self.dataset_json["file_ending"])

    def _walker_dataset_folder(self) -> Path | None:
        """Return where the random walker's probabilities are kept, None for a dataset that has none."""
        folders = [Path(base) / self.plans_manager.dataset_name for base in (nnUNet_preprocessed, nnUNet_raw) if base]
        return next((folder for folder in folders if (folder / WALKER_FOLDER).is_dir()), None)

    def _say_where_pseudo_masks_come_from(self) -> None:
        """Say before any time is spent what the retraining will learn from."""
        if any(phase.network_weight is not None for phase in self.phases):
            folder = self._walker_dataset_folder()
            if folder:
                self.print_to_log_file(f"Pseudo-masks will weigh the network against the walker's opinion in {folder}")
            else:
                self.print_to_log_file(
                    f"No {self.plans_manager.dataset_name}/{WALKER_FOLDER} in nnUNet_preprocessed or nnUNet_raw "
                    "(nnUNetv2_simple_convert writes it): pseudo-masks will keep what is labelled, the network decides "
                    "the rest"
                )

    @property
    def _pretrained_weights_file(self) -> str:
        return join(self.output_folder, "pretrained_weights.pth")

    def _keep_pretrained_weights(self) -> None:
        """Keep what -pretrained_weights put into the network: the retraining starts from it as well.

        nnU-Net tells the trainer nothing of it, so that weights other than those drawn are the sign. Its segmentation
        layers are not taken over, as by nnU-Net itself.
        """
        if self.local_rank != 0:
            return
        if os.path.isfile(self._pretrained_weights_file):
            os.remove(self._pretrained_weights_file)
        if not torch.equal(self._drawn_weights, _first_weights(self.network)):
            weights = unwrap(self.network).state_dict()
            kept = {name: tensor for name, tensor in weights.items() if ".seg_layers." not in name}
            torch.save(kept, self._pretrained_weights_file + ".partial")
            os.replace(self._pretrained_weights_file + ".partial", self._pretrained_weights_file)
            self.print_to_log_file("The retraining will start from the pretrained weights as well")

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
        if self.phase.labels == "pseudo_masks":
            dataset_tr = self._relabelled(dataset_tr)
        return dataset_tr, dataset_val

    def _relabelled(self, dataset) -> RelabelledDataset:
        label_folder = join(self.output_folder, "pseudo_masks_preprocessed")
        masks = {"mask_folder": self.pseudo_mask_folder, "mask_file_ending": self.dataset_json["file_ending"]}
        write_preprocessed_labels(
            open_dataset(self.preprocessed_dataset_folder, self._own_share(self._training_cases())),
            self.plans_manager,
            self.configuration_manager,
            self.label_manager,
            **masks,
            output_folder=label_folder,
        )
        if self.is_ddp:
            wait_for_labels(self._training_cases(), **masks, output_folder=label_folder)
            dist.barrier()
        return RelabelledDataset(dataset, label_folder)

    def get_dataloaders(self):
        """As nnU-Net. Pseudo-masks have no ignored voxels, so their patches are drawn as for any dense dataset."""
        label_manager = self.label_manager
        if self.phase.labels == "pseudo_masks":
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

    # ---- nnU-Net's loop -----------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        self._check_preprocessed_labels()
        self._remove_half_written_files()
        if self.current_epoch == 0:
            self._set_aside_earlier_pseudo_masks()
            self._say_where_pseudo_masks_come_from()
            self._keep_pretrained_weights()
        if self._starts_phase():
            self._begin_phase()
        super().on_train_start()

    def _remove_half_written_files(self) -> None:
        if self.local_rank == 0:
            for pattern in ("*.pth.partial", f"pseudo_masks/{PARTIAL_PSEUDO_MASK}*"):
                for file in Path(self.output_folder).glob(pattern):
                    file.unlink()

    def _set_aside_earlier_pseudo_masks(self) -> None:
        """A training from scratch must not find earlier pseudo-masks; somebody may have corrected them."""
        if self.local_rank == 0 and isdir(self.pseudo_mask_folder):
            set_aside = f"{self.pseudo_mask_folder}_before_{datetime.now():%Y%m%d_%H%M%S}"
            os.rename(self.pseudo_mask_folder, set_aside)
            self.print_to_log_file(f"The pseudo-masks of an earlier training were moved to {set_aside}")

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._iteration = 0

    def train_step(self, batch: dict) -> dict:
        if self.phase.lr_decays_every == "iteration":
            self.lr_scheduler.step(self.current_epoch + self._iteration / self.num_iterations_per_epoch)
        self._iteration += 1
        output = super().train_step(self._seen_by_loss(batch))
        return output | self.loss.terms if isinstance(self.loss, PhaseLoss) else output

    def validation_step(self, batch: dict) -> dict:
        return super().validation_step(self._seen_by_loss(batch))

    def _seen_by_loss(self, batch: dict) -> dict:
        """Show the image to the loss, which nnU-Net shows output and target only."""
        self._check_labels(batch)
        if isinstance(self.loss, PhaseLoss):
            batch["data"] = self.loss.image = batch["data"].to(self.device, non_blocking=True)
        return batch

    def _check_labels(self, batch: dict) -> None:
        target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
        highest = self.label_manager.ignore_label
        if target.min() < 0 or target.max() > highest:
            raise ValueError(
                f"the labels of a case must be 0 to {highest}, but {', '.join(batch['keys'])} in "
                f"{self.preprocessed_dataset_folder} have {target.min():.0f} to {target.max():.0f} "
                "(nnUNetv2_plan_and_preprocess --verify_dataset_integrity finds the file)"
            )

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        super().on_train_epoch_end(train_outputs)
        if self.is_ddp:
            outputs_of_all = [None] * dist.get_world_size()
            dist.all_gather_object(outputs_of_all, train_outputs)
            train_outputs = [output for outputs in outputs_of_all for output in outputs]
        for key in LOGGED_TERMS:
            values = [output[key] for output in train_outputs if np.isfinite(output.get(key, np.nan))]
            mean = float(np.mean(values)) if values else float("nan")
            self.logger.log(key, mean, self.current_epoch)
            if values:
                self.print_to_log_file(key, f"{mean:.4f}")

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        super().on_validation_epoch_end(val_outputs)
        if self._starts_phase():  # the moving average, and with it checkpoint_best.pth, starts anew with each phase
            values = logged_values(self)
            values["ema_fg_dice"][-1] = values["mean_fg_dice"][-1]

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        if self.local_rank == 0:
            plot_phases(self.phases, logged_values(self), self.output_folder)
        if self._starts_phase() and self.current_epoch < self.num_epochs:
            self._save_checkpoint_before_epoch("checkpoint_latest.pth")
            relabelled = self.phase.labels == "pseudo_masks"
            if relabelled:
                self._shut_down_dataloaders()
            self._begin_phase()
            if relabelled:
                self.dataloader_train, self.dataloader_val = self.get_dataloaders()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self._close_feature_tap()
        super().perform_actual_validation(save_probabilities)
        self.print_to_log_file(
            "The validation Dice above is against the weak labels, ignored voxels left out. Score predictions against "
            "dense reference masks before comparing methods."
        )

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net, but an interruption or a full disk never leaves a half-written checkpoint."""
        partial = filename + ".partial"
        try:
            super().save_checkpoint(partial)
            if os.path.isfile(partial) and self.local_rank == 0:
                os.replace(partial, filename)
        except (OSError, RuntimeError) as error:  # torch raises the latter
            raise OSError(f"{filename} could not be written, what was there before still is: {error}") from error

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except (OSError, RuntimeError, KeyError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"{filename_or_checkpoint} cannot be read as a checkpoint of this training: {type(error).__name__}: "
                f"{str(error)[:500]}. Remove it, and --c goes on from the checkpoint before"
            ) from error
        self._set_up_phase()


class PhasePolyLRScheduler(PolyLRScheduler):
    """nnU-Net's polynomial decay, counted from the first epoch of a phase."""

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, num_epochs: int, first_epoch: int):
        self.first_epoch = first_epoch
        super().__init__(optimizer, initial_lr, num_epochs)

    def step(self, current_step: float | None = None) -> None:
        super().step(None if current_step is None else current_step - self.first_epoch)


def _first_weights(network: nn.Module) -> torch.Tensor:
    return next(unwrap(network).parameters()).detach().clone()
