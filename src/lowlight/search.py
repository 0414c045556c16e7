"""Search for the value of a control that gives a photo's result the mean asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

TOLERANCE = 0.003
"""Of the mean: the gain that makes it exact afterwards is as good as none."""
_MOST = 6
"""Trials inside the bracket."""


@dataclass(frozen=True)
class Found:
    """Where a search ended."""

    control: str
    value: float
    mean: float
    """What the value gives."""
    how: Literal["reached", "beyond", "unsteady"]
    """``beyond``: the mean asked for lies outside what the bound reaches, and the value is that bound.
    ``unsteady``: the mean does not rise with the value; this is the start."""


def find_value(
    control: str,
    mean_at: Callable[[float], float],
    wanted: float,
    start: float,
    bounds: tuple[float, float],
) -> Found:
    """The control's value within the bounds at which ``mean_at``, which should rise, is ``wanted``.

    Tries the start, the bound on the side of what is wanted, and then points between, by interpolation. Each
    trial also checks that the mean rises: it must lie between those of its neighbours.
    """
    tried = [(start, mean_at(start))]

    def closest(how: Literal["reached", "beyond"]) -> Found:
        return Found(control, *min(tried, key=lambda each: abs(each[1] - wanted)), how)

    if abs(tried[0][1] - wanted) <= TOLERANCE:
        return closest("reached")
    side = 1 if wanted > tried[0][1] else -1
    end = bounds[1] if side > 0 else bounds[0]
    if end == start:
        return closest("beyond")
    tried.append((end, mean_at(end)))
    near, far = tried
    if side * (far[1] - near[1]) <= 0:
        return Found(control, *near, "unsteady")
    if side * (wanted - far[1]) >= 0:
        return closest("beyond" if abs(wanted - far[1]) > TOLERANCE else "reached")
    for _ in range(_MOST):
        share = (wanted - near[1]) / (far[1] - near[1])
        # Off the ends, so that the bracket shrinks from both sides where the mean is curved.
        value = near[0] + min(max(share, 0.1), 0.9) * (far[0] - near[0])
        tried.append((value, mean_at(value)))
        mean = tried[-1][1]
        if abs(mean - wanted) <= TOLERANCE:
            break
        if not side * near[1] <= side * mean <= side * far[1]:
            return Found(control, *tried[0], "unsteady")
        if side * (mean - wanted) < 0:
            near = tried[-1]
        else:
            far = tried[-1]
    return closest("reached")
