"""The gain that gives a result the mean asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowlight.gain import BOUNDS, apply_gain, slope, solve_gain

LEVELS = np.arange(65536) / 65535


@given(wanted=st.floats(0.02, 0.98), seed=st.integers(0, 5), share=st.sampled_from([0, 0.01, 0.3]))
@settings(max_examples=60, deadline=None)
def test_any_mean_is_reached_that_black_white_and_the_bounds_allow(
    wanted: float, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    values = np.minimum(rng.gamma(2.0, 9000.0, 20_000), 65535).astype(int)
    values[: int(share * 10_000)] = 0
    values[len(values) - int(share * 10_000) :] = 65535
    gain = solve_gain(np.bincount(values, minlength=65536), wanted)
    reached = apply_gain(values / 65535, gain).mean()
    if reached == pytest.approx(wanted, abs=1e-6):
        assert BOUNDS[0] < gain < BOUNDS[1]
    else:
        assert gain == pytest.approx(BOUNDS[0] if reached > wanted else BOUNDS[1])


@pytest.mark.parametrize(
    ("values", "wanted", "gain"),
    [
        ([0.3, 0.5], 0.4, 1.0),
        ([0.2, 0.2], 0.5, 4.0),
        ([0.5], 0.25, 1 / 3),
        ([0.0, 0.5], 0.4, 4.0),
        ([0.0, 1.0], 0.5, 1.0),
        ([0.0, 1.0], 0.6, BOUNDS[1]),
        ([0.0], 0.5, BOUNDS[1]),
        ([1.0], 0.0, BOUNDS[0]),
        ([0.001], 0.5, BOUNDS[1]),
    ],
)
def test_gains_known_by_hand(values: list[float], wanted: float, gain: float) -> None:
    counts = np.bincount([round(value * 65535) for value in values], minlength=65536)
    assert solve_gain(counts, wanted) == pytest.approx(gain, rel=1e-3)


@pytest.mark.parametrize("gain", [*BOUNDS, 0.8, 1.0, 1.25])
def test_black_and_white_stay_and_nothing_between_changes_its_rank(gain: float) -> None:
    result = apply_gain(LEVELS, gain)
    assert (result[0], result[-1]) == (0, 1)
    assert (np.diff(result) > 0).all()
    np.testing.assert_allclose(apply_gain(result, 1 / gain), LEVELS, atol=1e-12)
    np.testing.assert_allclose(1 - apply_gain(1 - LEVELS, 1 / gain), result, atol=1e-12)
    inner = LEVELS[1:-1]
    shift = np.log(result[1:-1] / (1 - result[1:-1])) - np.log(inner / (1 - inner))
    np.testing.assert_allclose(shift, math.log(gain), atol=1e-6)


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_the_slope_is_that_of_the_curve_which_goes_on_straight(gain: float) -> None:
    values = np.linspace(0, 1, 101)
    small = 1e-6
    numeric = (apply_gain(values + small, gain) - apply_gain(values - small, gain)) / (2 * small)
    np.testing.assert_allclose(numeric, slope(values, gain), rtol=1e-4)
    beyond = apply_gain(np.array([-0.2, 1.2], np.float32), gain)
    assert beyond.dtype == np.float32
    np.testing.assert_allclose(beyond, [-0.2 * gain, 1 + 0.2 / gain], rtol=1e-6)
