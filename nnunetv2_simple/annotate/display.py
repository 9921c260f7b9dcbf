"""What the three planes show: one voxel of one case, in one window, under one pseudo-mask."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from bokeh.models import LinearColorMapper

from nnunetv2_simple.annotate.marks import Voxel
from nnunetv2_simple.annotate.plane_view import IGNORE_VALUE, SCRIBBLE_VALUE, PlaneView
from nnunetv2_simple.annotate.planes import VIEWS, planes_of
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

GREYS = [f"#{grey:02x}{grey:02x}{grey:02x}" for grey in range(256)]
AUTO_WINDOW = "auto"
WINDOWS = {  # level and width, HU
    AUTO_WINDOW: None,
    "CT soft tissue": (40.0, 400.0),
    "CT liver": (70.0, 150.0),
    "CT lung": (-600.0, 1500.0),
    "CT bone": (400.0, 1800.0),
    "CT brain": (40.0, 80.0),
}
MAX_SAMPLED = 200_000  # voxels that decide on the window


class Display:
    """The planes of a session.

    Args:
        session: What is shown.

    Attributes:
        views: The planes by name.
        active: The one that the mouse was in last.
        greys: The window.
        crosshair: The voxel that all planes go through.
        overlay: (z, y, x) uint8, what is drawn over the image; None without a pseudo-mask.
    """

    def __init__(self, session: Session):
        self._session = session
        self.greys = LinearColorMapper(palette=GREYS, low=0, high=1)
        self.views = {name: PlaneView(name, self.greys) for name in VIEWS}
        self.active = self.views["axial"]
        self.crosshair: Voxel = (0, 0, 0)
        self.overlay: np.ndarray | None = None
        self._volume, self._shows_scribbles = np.zeros((1, 1, 1)), True

    def show_case(self) -> None:
        """Show the open case of the session, whole, its middle first."""
        image = self._session.channels[0]
        for name, plane in planes_of(image).items():
            self.views[name].show(plane)
        self.crosshair = tuple(n // 2 for n in image.GetSize())

    def set_channel(self, channel: int, subtracted: int | None) -> None:
        arrays = [sitk.GetArrayViewFromImage(image) for image in self._session.channels]
        self._volume = arrays[channel]
        if subtracted is not None:
            self._volume = arrays[channel].astype(np.float32) - arrays[subtracted]

    def set_window(self, name: str) -> None:
        if WINDOWS[name] is None:
            some = self._volume.ravel()[:: max(self._volume.size // MAX_SAMPLED, 1)]
            low, high = np.quantile(some, [0.005, 0.995])
        else:
            level, width = WINDOWS[name]
            low, high = level - width / 2, level + width / 2
        self.greys.update(low=float(low), high=float(max(high, low + 1e-6)))

    def fit(self) -> None:
        for view in self.views.values():
            view.fit()

    def zoom(self, factor: float, *, view: PlaneView | None = None, at: tuple[float, float] | None = None) -> None:
        """Zoom all planes alike; a place of one of them stays where it is."""
        for other in self.views.values():
            other.zoom(factor, at if other is view else None)

    def scroll(self, step: int) -> None:
        """Go to another slice of the active plane, without drawing it."""
        self.active.scroll(step)
        crosshair = list(self.crosshair)
        crosshair[self.active.plane.axes[2]] = self.active.index
        self.crosshair = tuple(crosshair)

    def go_to(self, voxel: Voxel) -> None:
        self.crosshair = voxel
        for view in self.views.values():
            view.index = voxel[view.plane.axes[2]]

    def go_to_lesion(self) -> None:
        """Go to the middle of the lesion, if there is one."""
        lesion = self._session.lesion
        if lesion is not None and lesion.points:
            middle = (np.min(lesion.points, axis=0) + np.max(lesion.points, axis=0)) // 2
            self.go_to(tuple(int(v) for v in middle))

    def toggle_mask(self) -> None:
        for view in self.views.values():
            view.mask.visible = not view.mask.visible

    def toggle_scribbles(self) -> None:
        self._shows_scribbles = not self._shows_scribbles
        self.draw_masks()

    def draw(self, views: Sequence[PlaneView] = ()) -> None:
        """Draw the marks on all planes; before that, image and pseudo-mask of some."""
        session = self._session
        for view in views:
            view.draw_image(self._volume)
            view.draw_overlay(self.overlay)
        for view in self.views.values():
            view.draw_marks(session.marks.lesions, session.lesion_number, self.crosshair)

    def draw_all(self) -> None:
        self.draw(list(self.views.values()))

    def draw_masks(self) -> None:
        """Draw the pseudo-masks as the session has them now."""
        session, masks = self._session, self._session.shown_masks()
        self.overlay = None
        if masks:
            self.overlay = session.label_image()
            for found in masks:  # of a large image, as little as possible
                part = self.overlay[found.region]
                part[part == session.ignore_label] = IGNORE_VALUE
            for found in masks if self._shows_scribbles else ():
                self.overlay[found.region][found.scribbles] = SCRIBBLE_VALUE
        for view in self.views.values():
            view.draw_overlay(self.overlay)


def shown_channels(names: Sequence[str], walker_image: WalkerImage) -> dict[str, tuple[int, int | None]]:
    """Return what can be looked at: what the walker sees first, then each channel, then differences to the first."""
    shown = {name: (number, None) for number, name in enumerate(names)}
    shown |= {f"{name} - {names[0]}": (number, 0) for number, name in enumerate(names) if number}
    seen = (walker_image.channel, walker_image.subtract)
    if seen not in shown.values():
        shown[f"{names[seen[0]]} - {names[seen[1]]}"] = seen
    return dict(sorted(shown.items(), key=lambda item: item[1] != seen))
