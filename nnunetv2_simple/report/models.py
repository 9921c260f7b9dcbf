"""The predictions of the test cases in 3D, coloured by their distance to the reference."""

from collections.abc import Mapping
from functools import cached_property
from html import escape

import numpy as np
import plotly.graph_objects as go
import SimpleITK as sitk

from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.report.cases import PicturedCase, foreground_labels, pictured_cases, read_case
from nnunetv2_simple.report.data import Comparison, UnavailableError
from nnunetv2_simple.report.figure import CLEAR, LINE, OVERLAY, QUIET, interactive_figure
from nnunetv2_simple.report.format import number, title_html
from nnunetv2_simple.report.quality_panel import REFERENCE_COLOUR
from nnunetv2_simple.report.surface import Surface, SurfaceMaker, signed_distance_to

# blue: too little, red: too much (ColorBrewer RdBu, safe for the colour-blind)
COLOURS = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
SHOWN_PERCENTILE, MIN_RANGE_MM = 80, 1.0
HEIGHT_PX = 560
AXIS_TITLES = {"x": "x, mm (to the left)", "y": "y, mm (to the back)", "z": "z, mm (to the head)"}
AXIS = {
    "gridcolor": LINE,
    "linecolor": LINE,
    "zeroline": False,
    "showbackground": False,
    "showspikes": False,
    "nticks": 5,
    "tickfont": {"size": 10, "color": QUIET},
}
CAMERA = {
    "eye": {"x": 0.78, "y": -1.68, "z": 0.6},
    "center": {"x": 0, "y": 0, "z": -0.05},
}  # from the patient's front, a little from above


def surface_views(comparison: Comparison) -> str:
    """Return a 3D view of the worst, median and best case with each shown method, to be chosen from lists.

    Raises:
        UnavailableError: If no case can be read.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 5.
    """
    labels = list(foreground_labels(comparison).values())
    cases, missing = [], []
    for identifier, rank in pictured_cases(comparison).items():
        try:
            cases.append(read_case(comparison, identifier, rank))
        except UnavailableError as reason:
            missing.append(f"{identifier}: {reason}")
    if not cases:
        raise UnavailableError("; ".join(missing) or "no test case has a Dice")
    views = [_CaseView(case, labels) for case in cases]
    figures, notes = {}, {}
    for i, view in enumerate(views):
        for j, method in enumerate(comparison.shown):
            figures[i, j] = view.figure(method["key"])
            notes[i, j] = view.note(method)
    figure = interactive_figure(
        "surfaces",
        figures,
        choices=[
            ("Case", [f"{case.rank}: {case.identifier}" for case in cases]),
            ("Method", [method["title"] for method in comparison.shown]),
        ],
        notes=notes,
        overlay="show the reference",
        height_px=HEIGHT_PX,
        description="Surface of the prediction in 3D, coloured by its distance to the reference; drag to rotate",
    )
    together = " All foreground labels are taken together." if len(labels) > 1 else ""
    absent = "".join(f'<p class="missing">{escape(reason)}</p>' for reason in missing)
    return (
        "<p>Drag to rotate, scroll to zoom. Red: the prediction lies outside the reference; blue: inside it. "
        "The scale is that of the case, the same for all its methods; rest the pointer on the surface for the distance "
        f"there.{together}</p>"
        f"{figure}{absent}"
    )


class _CaseView:
    """The surfaces of one case, and their distances to the reference, by the key of the method."""

    def __init__(self, case: PicturedCase, labels: list[int]):
        self.case = case
        spacing_mm = spacing_zyx_mm(case.reference)
        reference = np.isin(sitk.GetArrayFromImage(case.reference), labels)
        masks = {key: np.isin(array, labels) for key, array in case.predictions.items()}
        make_surface = SurfaceMaker([reference, *masks.values()], spacing_mm=spacing_mm)
        self.step_mm = make_surface.step_mm
        self.reference = make_surface(reference)
        self.surfaces = {key: make_surface(mask) for key, mask in masks.items()}
        self.distances_mm: dict[str, np.ndarray] = {}
        if not self.reference.is_empty:
            self.distances_mm = {
                key: signed_distance_to(surface, self.reference, reference, spacing_mm)
                for key, surface in self.surfaces.items()
                if not surface.is_empty
            }

    @cached_property
    def range_mm(self) -> float:
        """Where the colours end: most of the surfaces of all methods lie within."""
        everywhere = [abs(distance) for distance in self.distances_mm.values() if len(distance)]
        far = float(np.percentile(np.concatenate(everywhere), SHOWN_PERCENTILE)) if everywhere else 0.0
        return float(np.ceil(max(far, MIN_RANGE_MM)))

    def figure(self, key: str) -> go.Figure:
        traces = []
        surface = self.surfaces.get(key)
        if surface is not None and not surface.is_empty:
            traces.append(self._mesh(surface, self._coloured(key)))
        if not self.reference.is_empty:
            # alone it may be solid, around a prediction it must let through
            look = {"color": REFERENCE_COLOUR, "opacity": 0.2 if traces else 0.8, "hoverinfo": "skip", "meta": OVERLAY}
            traces.append(self._mesh(self.reference, look))
        return go.Figure(traces, self._layout())

    def _coloured(self, key: str) -> dict:
        if key not in self.distances_mm:
            return {"color": COLOURS[-1], "hoverinfo": "skip"}  # without a reference all of it is too much
        return {
            "intensity": self.distances_mm[key].astype(np.float32),
            "cmin": -self.range_mm,
            "cmax": self.range_mm,
            "colorscale": [[place / (len(COLOURS) - 1), colour] for place, colour in enumerate(COLOURS)],
            "colorbar": {"title": {"text": "mm"}, "thickness": 12, "len": 0.7, "outlinewidth": 0},
            "hovertemplate": "%{intensity:.1f} mm<extra></extra>",
        }

    def _mesh(self, surface: Surface, look: Mapping) -> go.Mesh3d:
        vertices = self._in_patient(surface).astype(np.float32)
        faces = surface.faces.astype(np.uint16 if len(vertices) < 2**16 else np.uint32)
        x, y, z = vertices.T
        i, j, k = faces.T
        light = {"ambient": 0.65, "diffuse": 0.6, "specular": 0.08, "roughness": 0.8}
        return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, lighting=light, flatshading=False, **look)

    def _in_patient(self, surface: Surface) -> np.ndarray:
        """Return the vertices as they lie in the patient: x to the left, y to the back, z to the head, in mm."""
        direction = np.reshape(self.case.reference.GetDirection(), (3, 3))
        return surface.vertices_mm[:, ::-1] @ direction.T

    def note(self, method: Mapping) -> str:
        key, identifier = method["key"], escape(self.case.identifier)
        name = f"{identifier}, {title_html(method['title'])}"
        if key not in self.surfaces:
            return f"{name}: was not predicted."
        if self.surfaces[key].is_empty:
            return f"{name}: the prediction is empty."
        dice = f"Dice {number(self.case.dice[key], decimals=1, scale=100)} %"
        if key not in self.distances_mm:
            return f"{name}: {dice}. The reference is empty."
        distances = self.distances_mm[key]
        return (
            f"{name}: {dice}. Half of its surface lies within {np.median(abs(distances)):.1f} mm of the reference, the "
            f"farthest point {abs(distances).max():.1f} mm away. Drawn on a grid of {self.step_mm:.2g} mm."
        )

    def _layout(self) -> dict:
        """Return the space all surfaces of the case take, the same for every method."""
        corners = [self._in_patient(s) for s in (self.reference, *self.surfaces.values()) if not s.is_empty]
        everything = np.concatenate(corners) if corners else np.array([[-1.0] * 3, [1.0] * 3])
        low, high = everything.min(axis=0), everything.max(axis=0)
        margin = 0.03 * (high - low).max()
        sides = (high - low + 2 * margin) / (high - low + 2 * margin).max()
        scene = {
            f"{name}axis": AXIS
            | {"title": {"text": title, "font": {"size": 11}}, "range": [start - margin, end + margin]}
            for (name, title), start, end in zip(AXIS_TITLES.items(), low.tolist(), high.tolist(), strict=True)
        }
        scene |= {"aspectmode": "manual", "aspectratio": dict(zip("xyz", sides.tolist(), strict=True))}
        # the reader's view stays while methods are compared, and starts anew with another case
        scene |= {"camera": CAMERA, "bgcolor": CLEAR, "uirevision": self.case.identifier}
        return {"scene": scene, "margin": {"l": 0, "r": 0, "t": 0, "b": 0}}
