"""The predictions of the test cases in 3D, coloured by distance to the reference; drawn by templates/figure.js."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.report import colours
from nnunetv2_simple.report.cases import PicturedCase, pictured_cases, read_case
from nnunetv2_simple.report.data import Comparison, UnavailableError
from nnunetv2_simple.report.rendering import percent
from nnunetv2_simple.report.surface import Surface, largest_part, make_surfaces, signed_distance_to

SHOWN_PERCENTILE, MIN_RANGE_MM = 80, 1.0


def surface_views(comparison: Comparison) -> dict:
    """Return the surfaces of the worst, median and best case with each shown method, to be chosen from lists.

    Raises:
        UnavailableError: If no case can be read.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 5.
    """
    labels, shown = list(comparison.settings["labels"].values()), comparison.shown
    views, missing = {}, []
    for identifier, rank in pictured_cases(comparison).items():
        try:
            views[f"{rank}: {identifier}"] = CaseView(read_case(comparison, identifier), labels)
        except UnavailableError as reason:
            missing.append(f"{identifier}: {reason}")
    if not views:
        raise UnavailableError("; ".join(missing))
    return {
        "data": {
            "cases": [view.data([method["key"] for method in shown]) for view in views.values()],
            "colours": {"distance": colours.DISTANCE, "reference": colours.REFERENCE},
        },
        "choices": {"Case": list(views), "Method": [method["title"] for method in shown]},
        "notes": {
            f"{i}-{j}": view.note(method) for i, view in enumerate(views.values()) for j, method in enumerate(shown)
        },
        "missing": missing,
        "num_labels": len(labels),
    }


class CaseView:
    """The surfaces of one case, and their distances to the reference, by the key of the method."""

    def __init__(self, case: PicturedCase, labels: Sequence[int]):
        self.case = case
        spacing_mm = spacing_zyx_mm(case.reference)
        reference, *masks = (
            np.isin(array, labels) for array in (sitk.GetArrayFromImage(case.reference), *case.predictions.values())
        )
        (self.reference, *surfaces), self.step_mm = make_surfaces([reference, *masks], spacing_mm=spacing_mm)
        self.surfaces = dict(zip(case.predictions, surfaces, strict=True))
        self.distances_mm: dict[str, np.ndarray] = {
            key: signed_distance_to(surface, self.reference, reference, spacing_mm)
            for key, surface in self.surfaces.items()
            if surface is not None and self.reference is not None
        }

    def data(self, keys: Sequence[str]) -> dict:
        """Return the surfaces, where the colours end, and the space that all surfaces of the case take, in mm.

        Args:
            keys: The methods.
        """
        corners = [self._in_patient(s) for s in (self.reference, *self.surfaces.values()) if s is not None]
        everything = np.concatenate(corners) if corners else np.array([[-1.0] * 3, [1.0] * 3])
        distances = [abs(distances[largest_part(self.surfaces[key])]) for key, distances in self.distances_mm.items()]
        # most of the largest part of every method's surface lies within; islands far away do not count
        far = np.percentile(np.concatenate(distances), SHOWN_PERCENTILE) if distances else 0
        return {
            "identifier": self.case.identifier,
            "reference": self._mesh(self.reference),
            "predictions": [self._mesh(self.surfaces.get(key), self.distances_mm.get(key)) for key in keys],
            "range": float(np.ceil(max(far, MIN_RANGE_MM))),
            "low": everything.min(axis=0).tolist(),
            "high": everything.max(axis=0).tolist(),
        }

    def _mesh(self, surface: Surface | None, distances: np.ndarray | None = None) -> dict | None:
        if surface is None:
            return None
        vertices = self._in_patient(surface).astype(np.float32)
        faces = surface.faces.astype(np.uint16 if len(vertices) < 2**16 else np.uint32)
        mesh = dict(zip("xyzijk", map(_array, (*vertices.T, *faces.T)), strict=True))
        return mesh if distances is None else mesh | {"intensity": _array(distances.astype(np.float32))}

    def _in_patient(self, surface: Surface) -> np.ndarray:
        """Return the vertices as they lie in the patient: x to the left, y to the back, z to the head, in mm."""
        direction = np.reshape(self.case.reference.GetDirection(), (3, 3))
        return surface.vertices_mm[:, ::-1] @ direction.T

    def note(self, method: Mapping) -> str:
        key, name = method["key"], f"{self.case.identifier}, {method['title']}"
        if key not in self.surfaces:
            return f"{name}: no prediction of this case."
        if self.surfaces[key] is None:
            return f"{name}: the prediction is empty."
        dice = f"{name}: Dice {percent(self.case.dice[key])}"
        if key not in self.distances_mm:
            return f"{dice}. The reference is empty."
        distances = abs(self.distances_mm[key])
        return (
            f"{dice}. Half of its surface lies within {np.median(distances):.1f} mm of the reference, the farthest "
            f"point {distances.max():.1f} mm away. Drawn on a grid of {self.step_mm:.2g} mm."
        )


def _array(values: np.ndarray) -> dict:
    """Return an array as plotly reads it, a third of the size of its digits."""
    return {"dtype": values.dtype.str[1:], "bdata": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()}
