"""The search for the value of a control that gives a mean."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowlight.search import TOLERANCE, Found, find_value

BOUNDS = -0.4, 0.4


class Counted:
    """A curve that counts how often it is asked."""

    def __init__(self, curve: Callable[[float], float]) -> None:
        self.curve = curve
        self.asked: list[float] = []

    def __call__(self, value: float) -> float:
        self.asked.append(value)
        return self.curve(value)


def find(mean_at: Callable[[float], float], wanted: float, start: float = 0.0) -> Found:
    return find_value("brightness", mean_at, wanted, start, BOUNDS)


@given(
    wanted=st.floats(0.11, 0.89), steep=st.floats(1.0, 4.0), middle=st.floats(-0.2, 0.2),
    start=st.floats(*BOUNDS),
)  # fmt: skip
def test_a_rising_curve_is_searched_in_few_trials(
    wanted: float, steep: float, middle: float, start: float
) -> None:
    def curve(value: float) -> float:
        """0.1 at the lower bound and 0.9 at the upper, steepest in the middle."""
        low, high, here = (math.tanh(steep * (each - middle)) for each in (*BOUNDS, value))
        return 0.1 + 0.8 * (here - low) / (high - low)

    mean_at = Counted(curve)
    found = find(mean_at, wanted, start)
    assert found.how == "reached"
    assert found.mean == curve(found.value)
    assert abs(found.mean - wanted) <= TOLERANCE or len(mean_at.asked) == 8
    assert abs(found.mean - wanted) <= 0.015
    assert all(BOUNDS[0] <= each <= BOUNDS[1] for each in mean_at.asked)


def test_what_is_there_already_takes_one_trial() -> None:
    mean_at = Counted(lambda value: 0.4 + value)
    assert find(mean_at, 0.401) == Found("brightness", 0.0, 0.4, "reached")
    assert len(mean_at.asked) == 1


@pytest.mark.parametrize(("wanted", "value"), [(0.95, 0.4), (0.05, -0.4)])
def test_beyond_the_bounds_the_bound_is_the_best(wanted: float, value: float) -> None:
    mean_at = Counted(lambda value: 0.5 + 0.5 * value)
    assert find(mean_at, wanted) == Found("brightness", value, 0.5 + 0.5 * value, "beyond")
    assert len(mean_at.asked) == 2
    assert find(mean_at, wanted, start=value).how == "beyond"


def test_a_falling_curve_and_a_hump_are_told() -> None:
    assert find(lambda value: 0.5 - value, 0.7) == Found("brightness", 0.0, 0.5, "unsteady")
    mean_at = Counted(lambda value: 0.5 + value + 0.75 * math.sin(math.pi * max(value, 0) / 0.4))
    assert find(mean_at, 0.7) == Found("brightness", 0.0, 0.5, "unsteady")
    assert len(mean_at.asked) == 3
