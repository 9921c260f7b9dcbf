"""What somebody does to the cases of a folder, one after the other; every change is on disk before the next one."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.annotate.folder import AnnotationFolder, ImageCase
from nnunetv2_simple.annotate.marks import (
    DONE,
    NUM_POINTS,
    SKIPPED,
    TUMOR_FREE,
    MarkedLesion,
    MarkedStroke,
    Marks,
    Voxel,
)
from nnunetv2_simple.annotate.masks import LesionMask, as_lesion, merge_masks
from nnunetv2_simple.extreme_points.lesions import annotation_warnings
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

LONGEST_PAUSE_S = 30.0  # whoever does nothing for longer has gone for a coffee


@dataclass(frozen=True)
class Row:
    """A line of the list of cases."""

    identifier: str
    state: str
    num_lesions: int
    num_warnings: int | None
    problem: str


class Session:
    """The cases, what is marked in them, and the case that is open.

    Args:
        cases: The cases.
        folder: Where the marks are kept.
        labels: The label of each class.
        walker_image: What the random walker sees.
        clock: Returns seconds.

    Attributes:
        case: The open case; None before the first.
        channels: Its images.
        marks: What is marked in it.
        lesion_number: Index of the lesion that clicks and strokes go to.
        masks: The pseudo-mask of every lesion as it is now, by its key; previews are replaced by exact ones.
        warnings: The warnings about pseudo-masks, by case; of those looked at.
        disagreements: How far another model disagrees, 0 to 1, by case; of those looked at.
    """

    def __init__(
        self,
        cases: Sequence[ImageCase],
        folder: AnnotationFolder,
        *,
        labels: Mapping[str, int],
        walker_image: WalkerImage = WalkerImage(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ):
        self.labels, self.walker_image = dict(labels), walker_image
        self._folder, self._clock = folder, clock
        self._cases = {case.identifier: case for case in cases}
        self._problems = {case.identifier: case.problem for case in cases if case.problem}
        self._all_marks: dict[str, Marks] = {}
        for case in cases:
            self._read_marks(case)
        self.order = list(self._cases)
        self.case: ImageCase | None = None
        self.channels: list[sitk.Image] = []
        self.lesion_number, self._next_label = 0, next(iter(labels))
        self.masks: dict[str, LesionMask] = {}
        self.warnings: dict[str, list[str]] = {}
        self.disagreements: dict[str, float] = {}
        self._undo: list[Marks] = []
        self._redo: list[Marks] = []
        self._last_action_s, self._unassigned_s = clock(), 0.0

    def _read_marks(self, case: ImageCase) -> None:
        if case.problem:
            return
        try:
            self._all_marks[case.identifier] = self._folder.read(case)
        except ValueError as error:
            self._problems[case.identifier] = str(error)

    # the list of cases

    @property
    def rows(self) -> list[Row]:
        """The cases in order, with their state."""
        rows = []
        for identifier in self.order:
            marks, problem = self._all_marks.get(identifier, Marks()), self._problems.get(identifier, "")
            found = self.warnings.get(identifier)
            state = "unreadable" if problem else marks.state
            num_warnings = None if found is None else len(found)
            rows.append(Row(identifier, state, len(marks.lesions), num_warnings, problem))
        return rows

    def case_of(self, identifier: str) -> ImageCase:
        return self._cases[identifier]

    def problem_of(self, identifier: str) -> str:
        return self._problems.get(identifier, "")

    def marks_of(self, identifier: str) -> Marks:
        return self._all_marks.get(identifier, Marks())

    def neighbour(self, step: int) -> str:
        """Return the case that many places on among those that can be shown, at most the last or first one."""
        shown = [name for name in self.order if name not in self._problems or name == self._open_name]
        place = shown.index(self._open_name) if self._open_name in shown else 0
        return shown[min(max(place + step, 0), len(shown) - 1)] if shown else self.order[0]

    @property
    def _open_name(self) -> str | None:
        return self.case.identifier if self.case else None

    def sort_for_review(self) -> None:
        """Bring finished cases to the front: those with most disagreement, then those with most warnings first."""
        finished = {row.identifier: row.state in (DONE, TUMOR_FREE) for row in self.rows}

        def rank(name: str) -> tuple:
            return not finished[name], -self.disagreements.get(name, 0.0), -len(self.warnings.get(name, []))

        self.order.sort(key=rank)

    def set_problem(self, identifier: str, problem: str) -> None:
        self._problems[identifier] = problem

    def open(self, identifier: str, channels: list[sitk.Image]) -> None:
        """Show another case."""
        self.case, self.channels = self._cases[identifier], channels
        self.masks, self._undo, self._redo = {}, [], []
        self.lesion_number, self._next_label = max(len(self.marks.lesions) - 1, 0), next(iter(self.labels))
        self._last_action_s, self._unassigned_s = self._clock(), 0.0

    # the open case

    @property
    def marks(self) -> Marks:
        return self._all_marks[self.case.identifier]

    @property
    def lesion(self) -> MarkedLesion | None:
        return self.marks.lesions[self.lesion_number] if self.lesion_number < len(self.marks.lesions) else None

    def note_action(self) -> None:
        """Count the time since the last action, whatever it is: scrolling is work too."""
        now = self._clock()
        self._unassigned_s += min(now - self._last_action_s, LONGEST_PAUSE_S)
        self._last_action_s = now

    def click(self, voxel: Voxel) -> bool:
        """Mark an extreme point of the lesion; return whether it took one more."""
        if (lesion := self.lesion) is not None and lesion.is_complete:
            return False

        def mark(marks: Marks) -> None:
            if self.lesion_number >= len(marks.lesions):
                marks.lesions.append(MarkedLesion(self._next_label))
                self.lesion_number = len(marks.lesions) - 1
            marks.lesions[self.lesion_number].points.append(voxel)

        self._change(mark)
        return True

    def move_point(self, number: int, voxel: Voxel) -> None:
        def move(marks: Marks) -> None:
            lesion = marks.lesions[self.lesion_number]
            lesion.points[number], lesion.is_box = voxel, False

        self._change(move)

    def remove_point(self, number: int) -> None:
        def remove(marks: Marks) -> None:
            lesion = marks.lesions[self.lesion_number]
            del lesion.points[number]
            lesion.is_box = False
            if not lesion.points:
                self._remove_lesion(marks)

        self._change(remove)

    def add_stroke(self, voxels: Sequence[Voxel], *, is_lesion: bool) -> None:
        """Say of the voxels on a line what they are; only of a lesion with six points."""
        if self.lesion is None or not self.lesion.is_complete or not voxels:
            return
        stroke = MarkedStroke(is_lesion, list(voxels))
        self._change(lambda marks: marks.lesions[self.lesion_number].strokes.append(stroke))

    def remove_strokes(self) -> None:
        if self.lesion is not None and self.lesion.strokes:
            self._change(lambda marks: marks.lesions[self.lesion_number].strokes.clear())

    def new_lesion(self) -> None:
        """Let the next click begin another lesion, of the class of this one."""
        if self.lesion is None or not self.lesion.is_complete:
            return
        self._next_label, self.lesion_number = self.lesion.label, len(self.marks.lesions)

    def select_lesion(self, number: int) -> None:
        self.lesion_number = min(max(number, 0), max(len(self.marks.lesions) - 1, 0))

    def set_label(self, label: str) -> None:
        """Change the class of the lesion, or of the one that the next click begins."""
        if self.lesion is None and label in self.labels:
            self._next_label = label
        elif label in self.labels and label != self.lesion.label:
            self._change(lambda marks: setattr(marks.lesions[self.lesion_number], "label", label))

    def delete_lesion(self) -> None:
        if self.lesion is not None:
            self._change(self._remove_lesion)

    def _remove_lesion(self, marks: Marks) -> None:
        del marks.lesions[self.lesion_number]
        self.lesion_number = max(min(self.lesion_number, len(marks.lesions) - 1), 0)

    def toggle_tumor_free(self) -> bool:
        """Say, or say no longer, that there is no lesion; return whether that is possible: not beside lesions."""
        if self.marks.lesions:
            return False
        is_tumor_free = self.marks.state != TUMOR_FREE

        def mark(marks: Marks) -> None:
            marks.is_tumor_free, marks.is_skipped = is_tumor_free, False

        self._change(mark)
        return True

    def toggle_skipped(self) -> None:
        is_skipped = self.marks.state != SKIPPED

        def mark(marks: Marks) -> None:
            marks.is_skipped = is_skipped
            marks.is_tumor_free = marks.is_tumor_free and not is_skipped

        self._change(mark)

    def undo(self) -> bool:
        return self._restore(self._undo, self._redo)

    def redo(self) -> bool:
        return self._restore(self._redo, self._undo)

    def _restore(self, source: list[Marks], other: list[Marks]) -> bool:
        if not source:
            return False
        other.append(self.marks.copy())
        self._all_marks[self.case.identifier] = source.pop()
        self.select_lesion(self.lesion_number)
        self._save()
        return True

    def _change(self, change: Callable[[Marks], None]) -> None:
        """Change the marks of the open case, give the time to the lesion, and save.

        Raises:
            OSError: If they cannot be saved; the change stays, and is saved with the next one.
        """
        self._undo.append(self.marks.copy())
        self._redo.clear()
        change(self.marks)
        if self.marks.lesions:
            self.marks.is_tumor_free = False
        self.note_action()
        spent = self.lesion or self.marks
        spent.seconds += self._unassigned_s
        self._unassigned_s = 0.0
        self._save()

    def _save(self) -> None:
        self.warnings.pop(self.case.identifier, None)
        self.disagreements.pop(self.case.identifier, None)
        self._folder.write(self.case, self.marks)

    # pseudo-masks

    def outdated(self) -> dict[str, MarkedLesion]:
        """Return the complete lesions without an exact pseudo-mask, by their key."""
        found = {_key(lesion): lesion for lesion in self.marks.lesions if lesion.is_complete}
        return {key: lesion for key, lesion in found.items() if key not in self.masks or self.masks[key].is_preview}

    def complete_keys(self) -> list[str]:
        """Return the keys of the complete lesions."""
        return [_key(lesion) for lesion in self.marks.lesions if lesion.is_complete]

    def shown_masks(self) -> list[LesionMask]:
        """Return the pseudo-masks, previews among them, of the lesions as they are now."""
        return [self.masks[key] for key in self.complete_keys() if key in self.masks]

    @property
    def ignore_label(self) -> int:
        return len(self.labels) + 1

    def label_image(self) -> np.ndarray:
        """Return (z, y, x) uint8, the label that the conversion makes of the complete lesions."""
        shape = self.channels[0].GetSize()[::-1]
        return merge_masks(self.shown_masks(), shape, ignore_label=self.ignore_label)

    def annotation_warnings(self) -> list[str]:
        """Return what the conversion says of the clicks."""
        found, lesions = [], []
        for number, marked in enumerate(self.marks.lesions, start=1):
            where = f"lesion {number}: " if len(self.marks.lesions) > 1 else ""
            if not marked.is_complete:
                found.append(f"{where}{len(marked.points)} of {NUM_POINTS} points: the conversion waits for the others")
                continue
            label, file = self.labels[marked.label], f"{self.case.identifier}.json"
            lesions.append(as_lesion(marked, self.channels[0], label=label, file=file, others=lesions))
            found += [where + warning for warning in annotation_warnings(lesions[-1])]
        return found


def _key(lesion: MarkedLesion) -> str:
    content = lesion.to_json()
    del content["seconds"]
    return json.dumps(content)
