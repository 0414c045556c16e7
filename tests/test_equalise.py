"""Histogram equalisation by tables: OpenCV's numbers, and no lost steps at 16 bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fill
from dimma_numbers import FIXTURES
from lowlight import equalise, statistics


def counts_of(values: np.ndarray) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=256)


def test_equals_opencv() -> None:
    pair = np.load(FIXTURES / "pair_input.npz")
    tables = equalise.tables(statistics.histograms(pair["dark"]))
    assert tables.shape == (3, 256)
    assert tables.dtype == np.float32
    equalised = equalise.apply(pair["dark"] / np.float32(255), tables)
    assert np.array_equal(equalised, pair["image"][3:6].transpose(1, 2, 0))


@given(arrays(np.uint8, st.integers(2, 400)))
def test_equals_the_rule_in_exact_arithmetic(values: np.ndarray) -> None:
    counts = counts_of(values)
    table = equalise.tables(counts) * 255
    first, total = int(values.min()), values.size
    if counts[first] == total:
        assert np.array_equal(np.rint(table), np.arange(256))
        return
    for value in np.unique(values).tolist():
        above = int(counts[: value + 1].sum() - counts[first])
        exact = Fraction(above * 255, int(total - counts[first]))
        assert abs(Fraction(round(float(table[value]))) - exact) <= Fraction(1, 2) + Fraction(1, 10**5)


@given(arrays(np.uint8, (3, 50), elements=st.integers(0, 255)))
@settings(max_examples=30)
def test_tables_rise_from_0_to_1(values: np.ndarray) -> None:
    for table, channel in zip(
        equalise.tables(np.stack([counts_of(each) for each in values])), values, strict=True
    ):
        assert (np.diff(table) >= 0).all()
        if np.ptp(channel):
            assert table[channel.min()] == 0
            assert table[channel.max()] == 1


def test_batches_of_histograms() -> None:
    counts = np.stack([counts_of((fill.photo(name, 9, 9) * 255).astype(np.uint8)) for name in "abcdef"])
    stacked = equalise.tables(counts.reshape(2, 3, 256))
    assert np.array_equal(stacked.reshape(6, 256), np.stack([equalise.tables(each) for each in counts]))


def test_16_bit_keeps_8_bit_values_and_the_steps_between() -> None:
    coarse = (fill.photo("coarse", 40, 50, high=0.3) * 255).astype(np.uint8)
    tables = equalise.tables(statistics.histograms(coarse))
    deep = coarse.astype(np.uint16) * 257
    assert np.array_equal(equalise.tables(statistics.histograms(deep)), tables)
    as_8_bit = equalise.apply(coarse / np.float32(255), tables)
    assert np.array_equal(equalise.apply((deep / np.float32(65535)), tables), as_8_bit)

    ramp = np.linspace(0, 0.3, 20000, dtype=np.float32).reshape(100, 200, 1).repeat(3, axis=2)
    equalised = equalise.apply(ramp, equalise.tables(statistics.histograms(ramp)))
    assert np.unique(equalised).size > 10000
    assert (np.diff(equalised[..., 0].ravel()) >= 0).all()
    assert equalised.max() > 0.99


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones((3, 255)), r"expected \(\.\.\., 256\) counts, got shape \(3, 255\)"),
        (np.zeros((3, 256)), "pixel"),
    ],
)
def test_no_histogram(counts: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equalise.tables(counts)
