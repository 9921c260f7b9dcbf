"""What takes longer than a moment, done beside the page: reading images, random walks, ranking cases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.annotate.folder import ImageCase, read_channels
from nnunetv2_simple.annotate.marks import DONE, TUMOR_FREE, MarkedLesion
from nnunetv2_simple.annotate.masks import (
    LesionMask,
    as_lesion,
    make_mask,
    make_preview,
    mask_warnings,
    merge_masks,
)
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.evidence import NPZ, read_evidence
from nnunetv2_simple.images import IMAGE_FILE_ENDINGS
from nnunetv2_simple.parallel import reason_of

MAX_KEPT = 3  # cases whose images stay in memory


class Work:
    """One thread that does one thing after the other for a session, and one that ranks cases beside it.

    Args:
        session: Of the page. The thread reads what does not change of it, and the page sets what the thread found.
        evidence: A folder of what another model says of the cases.
    """

    def __init__(self, session: Session, evidence: Path | None = None):
        self._session, self._evidence, self._images = session, evidence, {}
        self._thread, self._ranking = ThreadPoolExecutor(max_workers=1), ThreadPoolExecutor(max_workers=1)
        self._newest = 0

    def close(self) -> None:
        for thread in (self._thread, self._ranking):
            thread.shutdown(wait=False, cancel_futures=True)

    def read(self, case: ImageCase, then: Callable[[list[sitk.Image] | None, str], None]) -> None:
        """Read the images of a case; ``then`` gets them, or None and why they cannot be read."""

        def read() -> None:
            try:
                then(self._channels(case), "")
            except Exception as error:  # whatever is wrong with one image, the others go on
                then(None, reason_of(error))

        self._thread.submit(read)

    def read_ahead(self, case: ImageCase) -> None:
        """Read the images of the case that will probably be opened next."""
        self.read(case, lambda channels, problem: None)

    def walk(
        self, lesions: dict[str, MarkedLesion], then: Callable[[str, LesionMask | None, str, list[str] | None], None]
    ) -> None:
        """Make the pseudo-masks of lesions, large ones coarsely first, then judge all of them.

        Only the newest request is worked on to its end.

        Args:
            lesions: By key, complete.
            then: Gets the key, its pseudo-mask or why there is none; at the end "", None, "" and the warnings.
        """
        self._newest += 1
        self._thread.submit(self._walk, self._newest, dict(lesions), then)

    def _walk(self, number: int, lesions: dict[str, MarkedLesion], then: Callable) -> None:
        session = self._session
        channels, walker_image, found = session.channels, session.walker_image, dict(session.masks)
        for key, marked in lesions.items():
            try:
                lesion = as_lesion(marked, channels[0], label=session.labels[marked.label])
                for make in (make_preview, partial(make_mask, known=list(found.values()))):
                    if number != self._newest:
                        return
                    if (mask := make(lesion, channels, walker_image)) is not None:
                        then(key, mask, "", None)
                        found[key] = mask
            except Exception as error:  # such as an image that is constant there: said on the page
                then(key, None, reason_of(error), None)
        if number == self._newest:
            shown = [found[key] for key in session.complete_keys() if key in found]
            then("", None, "", mask_warnings(shown, channels, walker_image, ignore_label=session.ignore_label))

    def rank(self, then: Callable[[str, list[str], float | None], None]) -> None:
        """Judge all finished cases that have not been judged as they are.

        Args:
            then: Gets the case, the warnings about its pseudo-masks, and its disagreement with the other model, None
                without one; at the end "".
        """
        session = self._session
        for row in session.rows:
            is_compared = row.identifier in session.disagreements or self._evidence_file(row.identifier) is None
            if row.state in (DONE, TUMOR_FREE) and not (is_compared and row.num_warnings is not None):
                self._ranking.submit(self._rank_case, row.identifier, then)
        self._ranking.submit(then, "", [], None)

    def _rank_case(self, identifier: str, then: Callable[[str, list[str], float | None], None]) -> None:
        session = self._session
        try:
            channels, masks = read_channels(session.case_of(identifier)), []
            for marked in session.marks_of(identifier).lesions:
                lesion = as_lesion(marked, channels[0], label=session.labels[marked.label])
                masks.append(make_mask(lesion, channels, session.walker_image))
            options = {"ignore_label": session.ignore_label}
            found = mask_warnings(masks, channels, session.walker_image, **options)
            disagreement = None
            if (file := self._evidence_file(identifier)) is not None:
                label = merge_masks(masks, channels[0].GetSize()[::-1], **options)
                other = read_evidence(str(file), session.labels, channels[0]).argmax(axis=0)
                disagreement = disagreement_of(label, other, **options)
            then(identifier, found, disagreement)
        except Exception as error:  # a case that cannot be judged is one to look at
            then(identifier, [reason_of(error)], None)

    def _evidence_file(self, identifier: str) -> Path | None:
        endings = (*IMAGE_FILE_ENDINGS, NPZ) if self._evidence is not None else ()
        files = [self._evidence / f"{identifier}{ending}" for ending in endings]
        return next((file for file in files if file.is_file()), None)

    def _channels(self, case: ImageCase) -> list[sitk.Image]:
        if case.identifier not in self._images:
            self._images[case.identifier] = read_channels(case)
            while len(self._images) > MAX_KEPT:
                del self._images[next(iter(self._images))]
        return self._images[case.identifier]


def disagreement_of(label: np.ndarray, other: np.ndarray, *, ignore_label: int) -> float:
    """Return 1 - Dice of two label images (z, y, x) over all voxels that are labelled; 0 where both have no lesion.

    The whole image counts, not the boxes alone: a lesion that nobody clicked is what one most wants to know of.
    """
    counted = label != ignore_label
    return 1 - dice(label[counted] != 0, other[counted] != 0)
