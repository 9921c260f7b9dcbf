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

import inspect
import os
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.evaluation.click_scores import CLICK_SCORE, summarise_clicks
from nnunetv2_simple.evaluation.statistics import evenly_chosen
from nnunetv2_simple.files import read_json, save_json_atomically, written_atomically
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE, draw_folds
from nnunetv2_simple.nnunet.training_log import MIN_PROPAGATED_SHARE, PHASE_IN_LOG, noted_phases
from nnunetv2_simple.nnunet.versions import all_case_identifiers, logged_values
from nnunetv2_simple.parallel import children_end_on_sigterm, ends_with_killed_workers
from nnunetv2_simple.training.checks import (
    check_label_range,
    check_labels_readable,
    check_plans,
    check_preprocessed_labels,
    check_supported,
    classes_without_foreground,
    naming_plans_and_dataset_json,
)
from nnunetv2_simple.training.click_validation import (
    MAX_CASES,
    cases_with_clicks,
    choice_of_best,
    describe,
)
from nnunetv2_simple.training.feature_tap import FeatureTap, unwrap
from nnunetv2_simple.training.phase_loss import PartialCrossEntropyLoss, PhaseLoss
from nnunetv2_simple.training.phases import Phase, first_epoch, phase_at
from nnunetv2_simple.training.progress_plot import plot_phases
from nnunetv2_simple.training.pseudo_mask_trainer import PseudoMaskTrainer

BEST_CHECKPOINT = "checkpoint_best.pth"
STOP_VARIABLE = "nnUNet_simple_stop_after"
LOGGED_TERMS = (
    "segmentation_loss",
    "contrastive",
    "crf",
    "propagation",
    "propagated_share",
    "accepted_positives",
    "accepted_negatives",
)


class PhasedTrainer(PseudoMaskTrainer):
    """Trains :attr:`phases` one after the other. Subclasses name the phases and nothing else.

    Raises:
        NotImplementedError: For cascades, region-based labels and networks without nnU-Net's decoder.
        ValueError: For a dataset without an ignore label, for plans or a dataset.json nnU-Net fails on, and for
            environment variables of another value than they may have.

    Attributes:
        phases: The phases.
        best_by: What checkpoint_best.pth of a phase on weak labels is chosen by: "clicks", the click score of the
            validation cases (at most 20 of them), or "nnunet", its pseudo-Dice against the weak labels. The environment
            variable nnUNet_simple_best comes before it. Until there is a click score it is nnU-Net's.
        epochs_between_click_scores: How often the validation cases are predicted for that.
    """

    phases: tuple[Phase, ...]
    best_by: str = "clicks"
    epochs_between_click_scores: int = 10

    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        given = inspect.signature(nnUNetTrainer.__init__).bind(self, *args, **kwargs).arguments
        check_plans(given["plans"], given["configuration"], given["dataset_json"])
        super().__init__(*args, **kwargs)
        check_supported(self)
        self.num_epochs = sum(phase.num_epochs for phase in self.phases)
        self._nnunets_oversampling = self.oversample_foreground_percent
        self._feature_tap: FeatureTap | None = None
        self._iteration = 0
        for key in (*LOGGED_TERMS, CLICK_SCORE):
            logged_values(self)[key] = []
        self.logger.plot_progress_png = partial(self._try_to_plot, self.logger.plot_progress_png)
        self.best_by, self._is_chosen = choice_of_best(self.best_by), False
        self._stop_after = os.environ.get(STOP_VARIABLE)
        if self._stop_after and self._stop_after not in (names := [phase.name for phase in self.phases[:-1]]):
            raise ValueError(f"{STOP_VARIABLE} must be one of {', '.join(names) or 'none'}, got {self._stop_after!r}")

    @property
    def phase(self) -> Phase:
        """The phase of the current epoch."""
        return phase_at(self.phases, self.current_epoch)

    @property
    def learns_pseudo_masks(self) -> bool:
        return self.phase.labels == "pseudo_masks" and self.current_epoch < self.num_epochs

    # ---- setting up a phase -------------------------------------------------------------------------------------

    def initialize(self) -> None:
        naming = naming_plans_and_dataset_json(self.plans_manager.plans)
        self.build_network_architecture = naming(self.build_network_architecture)
        super().initialize()
        with naming_plans_and_dataset_json(self.plans_manager.plans):
            for phase in self.phases:  # refuses other networks, now and not when the phase begins
                FeatureTap(self.network, phase.tap).close()
        self._set_up_phase()

    def configure_optimizers(self):
        self.initial_lr, self.weight_decay = self.phase.initial_lr, self.phase.weight_decay
        optimizer, _ = super().configure_optimizers()
        return optimizer, self._lr_scheduler(optimizer)

    def _lr_scheduler(self, optimizer: torch.optim.Optimizer) -> PolyLRScheduler:
        phase = self.phase
        return PhasePolyLRScheduler(optimizer, phase.initial_lr, phase.num_epochs, first_epoch(self.phases, phase))

    def _set_batch_size_and_oversample(self) -> None:
        self.oversample_foreground_percent = self._nnunets_oversampling  # with several GPUs nnU-Net overwrites it
        super()._set_batch_size_and_oversample()
        if self.phase.patches == "half_foreground":  # on each GPU, as every one needs patches of both kinds
            self.batch_size *= 2
            self.oversample_foreground_percent = 0.5

    def _build_loss(self):
        loss = super()._build_loss()
        if self.phase.segmentation_loss == "dice_ce":
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
        self._set_batch_size_and_oversample()
        self.lr_scheduler = self._lr_scheduler(self.optimizer)
        self._close_feature_tap()
        if phase.voxel_term is not None:
            self._feature_tap = FeatureTap(self.network, phase.tap)
        self.loss = PhaseLoss(
            self._build_loss(),
            phase.voxel_term,
            self._feature_tap,
            half_foreground=phase.patches == "half_foreground",
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
            self._say_what_was_propagated(self.phases[index - 1])
            self._save_checkpoint_before_epoch(f"checkpoint_{self.phases[index - 1].name}.pth")
        self.print_to_log_file(f"{PHASE_IN_LOG} {self.phase.name}: {self.phase}")
        if self.learns_pseudo_masks:
            self._close_feature_tap()
            self.write_pseudo_masks(walk_again=self.phase.walks_again)
        if index > 0 and self._stop_after == self.phases[index - 1].name:
            self._stop()
        if self.learns_pseudo_masks:
            self._draw_new_weights()
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self._best_ema = None
        self._set_up_phase()

    def _stop(self) -> None:
        """End the process, so that the pseudo-masks can be looked at first."""
        if self.dataloader_train is not None:
            self._shut_down_dataloaders()
        masks = f" Correct pseudo-masks in {self.pseudo_mask_folder}." if self.learns_pseudo_masks else ""
        self.print_to_log_file(
            f"Stopped after the phase {self._stop_after} ({STOP_VARIABLE}).{masks} To resume, unset the variable and "
            "run the same command with --c"
        )
        raise SystemExit(0)

    def _say_what_was_propagated(self, phase: Phase) -> None:
        """Say what share of the unlabelled voxels a phase's vote has labelled, and how it judges those of known labels.

        Where it labels fewer than one in a thousand, the phase changed next to nothing.
        """
        end = first_epoch(self.phases, phase) + phase.num_epochs
        keys = ("propagated_share", "accepted_positives", "accepted_negatives")
        epochs = [np.array(logged_values(self)[key][end - phase.num_epochs : end], dtype=float) for key in keys]
        propagated, own, others = (np.nanmean(v) if np.isfinite(v).any() else np.nan for v in epochs)
        if np.isnan(propagated):
            return
        nothing = ": it changed next to nothing" if propagated < MIN_PROPAGATED_SHARE else ""
        text = f"The fine-tuning propagated {propagated:.1%} of the unlabelled voxels{nothing}"
        if np.isfinite([own, others]).all():
            text += (
                f". Among labelled voxels, its vote accepts {own:.1%} of those with the propagated label and "
                f"{others:.1%} of all others"
            )
        self.print_to_log_file(text)

    def _save_checkpoint_before_epoch(self, name: str) -> None:
        """Save a checkpoint that continues with the current epoch (nnU-Net stores the one after it)."""
        self.current_epoch -= 1
        self.save_checkpoint(join(self.output_folder, name))
        self.current_epoch += 1

    # ---- nnU-Net's loop -----------------------------------------------------------------------------------------

    def run_training(self) -> None:
        with children_end_on_sigterm():  # among them the data loaders' workers
            super().run_training()

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        self._share_work(self._check_folder_and_data)
        self._note_start()
        if self._starts_phase():
            self._begin_phase()
        super().on_train_start()

    def _check_folder_and_data(self) -> None:
        if self.local_rank > 0:
            return
        self._hold_folder()
        self._remove_half_written_files()
        self._check_schedule()
        splits_file = Path(self.preprocessed_dataset_folder_base) / SPLITS_FILE
        if self.fold != "all" and splits_file.is_file():
            read_json(splits_file)  # names it if it is damaged
        try:
            if self.fold != "all" and not splits_file.is_file():
                self._draw_folds(splits_file)
            training, validation = self.do_split()
        except ValueError as error:
            raise ValueError(
                f"nnU-Net cannot split the cases of {self.preprocessed_dataset_folder_base} into five folds: {error}. "
                f"With fewer than five cases train fold 'all', or write splits_final.json"
            ) from error
        cases_with_clicks(self._converted_dataset(), validation)  # a record that cannot be read is named now
        cases = sorted({*training, *validation})
        check_preprocessed_labels(self, cases)
        if empty := classes_without_foreground(self, training):
            self.print_to_log_file(f"WARNING: no training case has a voxel of the class {', '.join(empty)}")
        check_labels_readable(self, self._weak_label_file, cases)
        if any(phase.walks_again for phase in self.phases) and self._lacks_pseudo_masks():
            self._say_where_pseudo_masks_come_from()

    def _check_schedule(self) -> None:
        """Refuse to resume a training whose phases had other lengths: its epoch would belong to another phase.

        nnU-Net noted the phases of the training so far in debug.json.
        """
        noted, final = (Path(self.output_folder) / name for name in ("debug.json", "checkpoint_final.pth"))
        if self.current_epoch == 0 or final.is_file() or not noted.is_file():
            return
        lengths = [num_epochs for num_epochs, _ in noted_phases(noted.read_text())]
        index = self.phases.index(self.phase)
        first, own = first_epoch(self.phases, self.phase), [phase.num_epochs for phase in self.phases]
        if index < len(lengths) and (lengths[:index] != own[:index] or self.current_epoch > first + lengths[index]):
            raise ValueError(
                f"the training in {self.output_folder} cannot be resumed at epoch {self.current_epoch}: its phases "
                f"have {lengths} epochs, those of {type(self).__name__} {own}. Was it begun by an earlier version? "
                "Resume it with that one, or train anew without --c"
            )

    def _draw_folds(self, file: Path) -> None:
        """Write the folds nnU-Net would draw: it writes them in place, so that a kill, or the training of another fold
        at the same time, finds half a file."""
        self.print_to_log_file("Creating new 5-fold cross-validation split...")
        save_json_atomically(draw_folds(all_case_identifiers(self.preprocessed_dataset_folder)), file)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._iteration = 0

    def train_step(self, batch: dict) -> dict:
        if self.phase.lr_decays_every == "iteration":
            self.lr_scheduler.step(self.current_epoch + self._iteration / self.num_iterations_per_epoch)
        self._iteration += 1
        output = super().train_step(self._seen_by_loss(batch))
        terms = torch.stack(list(self.loss.terms.values())).tolist()  # nnU-Net has waited for the device already
        return output | dict(zip(self.loss.terms, terms, strict=True))

    def validation_step(self, batch: dict) -> dict:
        return super().validation_step(self._seen_by_loss(batch))

    def _seen_by_loss(self, batch: dict) -> dict:
        """Show the image to the loss, which nnU-Net shows output and target only."""
        folder = self.preprocessed_dataset_folder
        check_label_range(batch, self.label_manager.ignore_label, folder=folder)
        batch["data"] = self.loss.image = batch["data"].to(self.device, non_blocking=True)
        return batch

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        super().on_train_epoch_end(train_outputs)
        train_outputs = [output for outputs in self._of_all_processes(train_outputs) for output in outputs]
        self._check_finite(train_outputs)
        for key in LOGGED_TERMS:
            values = [output[key] for output in train_outputs if np.isfinite(output.get(key, np.nan))]
            mean = float(np.mean(values)) if values else float("nan")
            self.logger.log(key, mean, self.current_epoch)
            if values:
                self.print_to_log_file(key, f"{mean:.4f}")

    def _check_finite(self, train_outputs: list[dict]) -> None:
        """Count the losses that are not finite; end the training, before anything is saved, if it cannot recover."""
        num_lost = sum(not np.isfinite(output["loss"]) for output in train_outputs)
        if num_lost:
            self.print_to_log_file(f"WARNING: the loss was NaN or infinite in {num_lost} of {len(train_outputs)} steps")
        is_lost = not all(torch.isfinite(weights).all() for weights in unwrap(self.network).parameters())
        if is_lost or num_lost == len(train_outputs):
            raise FloatingPointError(
                f"phase {self.phase.name} has diverged in epoch {self.current_epoch}: its "
                f"{'weights are' if is_lost else 'loss is'} NaN or infinite. Continue with --c from the last "
                f"checkpoint, which is from before; if that happens again, lower the learning rate (initial_lr of the "
                f"phase, docs/python.md) or check for damaged images"
            )

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        super().on_validation_epoch_end(val_outputs)
        if self._starts_phase():  # the moving average, and with it checkpoint_best.pth, starts anew with each phase
            values = logged_values(self)
            values["ema_fg_dice"][-1] = values["mean_fg_dice"][-1]
        self.logger.log(CLICK_SCORE, self._click_score(), self.current_epoch)

    def _click_score(self) -> float:
        """Return the click score of the validation cases where it is wanted in this epoch, NaN elsewhere."""
        phase, epoch = self.phase, self.current_epoch + 1 - first_epoch(self.phases, self.phase)
        ends, is_last = epoch == phase.num_epochs, self.current_epoch + 1 == self.num_epochs
        chooses = self.best_by == "clicks" and (ends or epoch % self.epochs_between_click_scores == 0)
        if phase.labels != "weak" or not (chooses or ends and not is_last):
            return float("nan")
        cases = cases_with_clicks(self._converted_dataset(), sorted(self.do_split()[1]))
        if not cases:
            return float("nan")
        summary = summarise_clicks(self.score_by_clicks(evenly_chosen(cases, MAX_CASES)))
        when = f"after phase {phase.name}" if ends else f"in phase {phase.name}"
        self.print_to_log_file(f"Validation by clicks {when}: {describe(summary)}")
        return summary[CLICK_SCORE]

    def _clicks_choose_best(self) -> bool:
        """Tell whether there are click scores in this phase, so that nnU-Net's pseudo-Dice does not choose."""
        return self.best_by == "clicks" and self.phase.labels == "weak" and np.isfinite(self._click_scores()).any()

    def _click_scores(self) -> list[float]:
        return logged_values(self)[CLICK_SCORE][first_epoch(self.phases, self.phase) : self.current_epoch + 1]

    def on_epoch_end(self) -> None:
        *earlier, score = self._click_scores()
        is_best = self._clicks_choose_best() and not any(other >= score for other in earlier) and np.isfinite(score)
        super().on_epoch_end()
        if is_best:
            self._is_chosen = True
            self._save_checkpoint_before_epoch(BEST_CHECKPOINT)
            self._is_chosen = False
        if self.local_rank == 0:
            self._try_to_plot(plot_phases, self.phases, logged_values(self), self.output_folder)
        if self._starts_phase() and self.current_epoch < self.num_epochs:
            self._save_checkpoint_before_epoch("checkpoint_latest.pth")
            previous = self.phases[self.phases.index(self.phase) - 1]
            needs_other_batches = self.learns_pseudo_masks or self.phase.patches != previous.patches
            if needs_other_batches:
                self._shut_down_dataloaders()
            self._begin_phase()
            if needs_other_batches:
                self.dataloader_train, self.dataloader_val = self.get_dataloaders()

    def _try_to_plot(self, plot: Callable, *arguments) -> None:
        """Plot, or say why not: no plot is worth the end of a training."""
        try:
            plot(*arguments)
        except Exception as error:  # noqa: BLE001 (of matplotlib's, fonts or files)
            self.print_to_log_file(f"WARNING: no plot was written: {type(error).__name__}: {error}")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self._close_feature_tap()
        say = self.print_to_log_file if self.local_rank == 0 else partial(print, flush=True)  # nnU-Net's log is of one
        advice = "Run the same command with --val, with a lower nnUNet_def_n_proc"
        with ends_with_killed_workers(say, "the validation", advice):
            super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0:
            self._score_validation_by_clicks()
        self.print_to_log_file(
            "The validation Dice above is measured against the weak labels, without ignored voxels. To compare "
            "methods, score predictions against dense reference masks."
        )

    def _score_validation_by_clicks(self) -> None:
        """Score what nnU-Net's validation has written against the clicks; write validation/click_scores.json."""
        folder, reader_writer = Path(self.output_folder) / "validation", self.plans_manager.image_reader_writer_class()
        files = {case: folder / (case + self.dataset_json["file_ending"]) for case in sorted(self.do_split()[1])}
        cases = cases_with_clicks(self._converted_dataset(), [case for case, file in files.items() if file.is_file()])
        if not cases:
            return
        scores = {case: self._score_by_clicks(case, reader_writer.read_seg(str(files[case]))[0][0]) for case in cases}
        summary = summarise_clicks(scores)
        save_json_atomically({"all": summary, "cases": scores}, folder / "click_scores.json")
        self.print_to_log_file(f"Validation by clicks: {describe(summary)}")

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net, but an interruption or a full disk never leaves a half-written checkpoint.

        Where clicks choose checkpoint_best.pth, nnU-Net's own choice is not written.
        """
        is_best = os.path.basename(filename) == BEST_CHECKPOINT
        if is_best and not self._is_chosen and self.current_epoch < self.num_epochs and self._clicks_choose_best():
            return
        if self.disable_checkpointing or self.local_rank > 0:
            super().save_checkpoint(filename)  # which says so, or does nothing
            return
        try:
            self._own_folder()
            with written_atomically(Path(filename)) as beside:
                super().save_checkpoint(str(beside))
        except (OSError, RuntimeError) as error:  # torch raises the latter
            raise OSError(f"{filename} could not be written, what was there before still is: {error}") from error

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        if not self.was_initialized:
            self.initialize()
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except (FileNotFoundError, MemoryError, torch.cuda.OutOfMemoryError):
            raise  # the checkpoint is not to blame
        except Exception as error:  # a damaged pickle raises anything
            raise ValueError(
                f"{filename_or_checkpoint} cannot be read as a checkpoint of this training: {type(error).__name__}: "
                f"{str(error)[:500]}. Move it away, and --c resumes from the checkpoint before"
            ) from error
        logged_values(self).setdefault(CLICK_SCORE, [float("nan")] * self.current_epoch)  # of earlier versions: none
        self._set_up_phase()


class PhasePolyLRScheduler(PolyLRScheduler):
    """nnU-Net's polynomial decay, counted from the first epoch of a phase."""

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, num_epochs: int, first_epoch: int):
        self.first_epoch = first_epoch
        super().__init__(optimizer, initial_lr, num_epochs)

    def step(self, current_step: float | None = None) -> None:
        super().step(None if current_step is None else current_step - self.first_epoch)
