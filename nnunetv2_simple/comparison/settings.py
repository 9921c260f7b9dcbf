"""What is compared, and where everything of it lies."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.file_path_utilities import get_output_folder

from nnunetv2_simple.comparison.methods import Method

Command = tuple[str, ...]
Fold = int | str  # "all" is nnU-Net's fold without validation cases


@dataclass(frozen=True)
class Training:
    """One call of nnUNetv2_train. Several methods may share it.

    Attributes:
        dataset: Folder name of the dataset.
        trainer: Class name of the trainer.
        fold: The fold.
        folder: Where nnU-Net keeps the checkpoints of this fold.
        costs_file: Where its versions and peak memory are noted.
    """

    dataset: str
    trainer: str
    fold: Fold
    folder: Path
    costs_file: Path

    @property
    def name(self) -> str:
        return f"{self.trainer}__{self.dataset}__fold_{self.fold}"


@dataclass(frozen=True)
class Comparison:
    """The settings of one comparison.

    Attributes:
        datasets: Folder name of the dataset that holds each kind of labels the methods need; "weak" is always there.
        methods: What is compared.
        folds: The folds every method is trained on.
        configuration: nnU-Net's configuration.
        plans: Name of the plans.
        length: Suffix of the trainers, such as "50epochs"; None for the full schedules.
        device: "cuda", "cpu" or "mps".
        num_processes: Processes for preprocessing, prediction and scoring.
        mirror: Whether predictions are averaged over mirrored images, as is nnU-Net's default.
        images: Folder of test images.
        references: Folder of their dense masks.
        cases: The test cases.
        labels: The foreground labels by name.
        tolerance_mm: Of the normalised surface Dice.
        file_ending: Of images and masks.
        walker_channel: The channel the clicks were made on, for pictures.
        output_folder: Gets everything but what nnU-Net keeps in its own folders.
        raw: nnUNet_raw.
        preprocessed: nnUNet_preprocessed.
        results: nnUNet_results.
        line_every_s: Seconds between two lines of progress where the output is no terminal.
    """

    datasets: Mapping[str, str]
    methods: Sequence[Method]
    folds: Sequence[Fold]
    configuration: str
    plans: str
    length: str | None
    device: str
    num_processes: int
    mirror: bool
    images: Path
    references: Path
    cases: Sequence[str]
    labels: Mapping[str, int]
    tolerance_mm: float
    file_ending: str
    walker_channel: int
    output_folder: Path
    raw: Path
    preprocessed: Path
    results: Path
    line_every_s: float = 30.0

    @property
    def has_folds(self) -> bool:
        return any(fold != "all" for fold in self.folds)

    def training(self, method: Method, fold: Fold) -> Training:
        """Return the training whose checkpoint a method predicts with."""
        dataset = self.datasets[method.labels]
        trainer = f"{method.trainer}_{self.length}" if self.length else method.trainer
        folder = Path(get_output_folder(dataset, trainer, self.plans, self.configuration, fold))
        costs_file = self.output_folder / "costs" / f"{trainer}__{dataset}__fold_{fold}.json"
        return Training(dataset, trainer, fold, folder, costs_file)

    def trainings(self) -> list[Training]:
        """Return every training once, in the order of folds and methods."""
        return list(dict.fromkeys(self.training(method, fold) for fold in self.folds for method in self.methods))

    def checkpoint(self, method: Method, fold: Fold) -> Path:
        return self.training(method, fold).folder / method.checkpoint

    def predictions(self, method: Method, fold: Fold) -> Path:
        return self.output_folder / "predictions" / method.key / f"fold_{fold}"

    def case_files(self, folder: Path) -> list[Path]:
        return [folder / (case + self.file_ending) for case in self.cases]

    def image_files(self, prediction_file: Path) -> list[Path]:
        """Return the channels a prediction was made from."""
        case = prediction_file.name.removesuffix(self.file_ending)
        return sorted(self.images.glob(f"{glob.escape(case)}_[0-9][0-9][0-9][0-9]{glob.escape(self.file_ending)}"))

    def settings(self) -> dict:
        """Return the settings as comparison.json has them."""
        as_they_are = ("datasets", "configuration", "plans", "folds", "length", "device", "mirror")
        paths = {key: str(getattr(self, key)) for key in ("images", "references")}
        others = {"labels": self.labels, "tolerance_mm": self.tolerance_mm, "file_ending": self.file_ending}
        folders = {f"nnUNet_{key}": str(getattr(self, key)) for key in ("raw", "preprocessed", "results")}
        return {
            "weak": dataset_id(self.datasets["weak"]),
            "dense": dataset_id(self.datasets["dense"]) if "dense" in self.datasets else None,
            **{key: getattr(self, key) for key in as_they_are},
            **(paths | others | {"channel": self.walker_channel} | folders),
        }


def dataset_id(dataset: str) -> int:
    """Return the id in a dataset's folder name."""
    return int(dataset.partition("_")[0].removeprefix("Dataset"))
