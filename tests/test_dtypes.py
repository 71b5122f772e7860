"""Tolerances are what their derivation says, and what sums of this machine's numpy show."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from onnx_fc2conv.dtypes import SAFETY, STEPS, numpy_type, quantised_tolerance, tolerance

COMPARED, FALSE_ALARMS = 2**23, 1e-4
TYPES = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16}


def one_by_one(products: np.ndarray) -> np.ndarray:
    """Sums along the last axis, each addition rounded."""
    sums = products[..., 0]
    for k in range(1, products.shape[-1]):
        sums = sums + products[..., k]
    return sums


def apart(terms: int, seed: int, dtype: type) -> np.ndarray:
    """Differences of the same random sums in two orders, relative to the largest."""
    random = np.random.default_rng(seed)
    a, b = (random.standard_normal((2000, terms)).astype(dtype) for _ in range(2))
    products = a * b
    first, second = one_by_one(products), one_by_one(products[:, random.permutation(terms)])
    return np.abs(first.astype(np.float64) - second) / np.abs(first.astype(np.float64)).max()


@pytest.mark.parametrize("terms", [4, 64, 1024])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_two_orders_of_a_sum_are_within_the_bound_and_near_what_it_is_derived_from(elem_type: int, terms: int) -> None:
    differences = apart(terms, terms, TYPES[elem_type])
    eps = float(np.finfo(TYPES[elem_type]).eps)
    assert 0 < differences.max() <= tolerance(elem_type, terms, 0)
    deviation = float(np.sqrt((differences**2).mean()))
    assert deviation <= eps * math.sqrt(terms / 6), "a standard deviation is larger than derived"
    assert deviation >= eps * math.sqrt(terms / 6) / 20, "the bound has nothing to do with these sums"


def test_the_bound_is_crossed_where_one_term_of_a_sum_is_lost() -> None:
    random = np.random.default_rng(0)
    products = random.standard_normal((2000, 1024)).astype(np.float32)
    whole, short = one_by_one(products), one_by_one(products[:, :-1])
    lost = np.abs(whole - short) / np.abs(whole).max()
    assert (lost > tolerance(TensorProto.FLOAT, 1024, 2)).mean() > 0.95


def test_safety_is_what_the_largest_of_all_compared_numbers_needs_and_little_more() -> None:
    needed = math.sqrt(2 * math.log(2 * COMPARED / FALSE_ALARMS)) / math.sqrt(6)
    assert needed <= SAFETY <= 1.4 * needed


@pytest.mark.parametrize("elem_type", TYPES)
def test_eps_is_the_types_own(elem_type: int) -> None:
    """Nodes round to the type, of which four times as many are worth twice as much."""
    own = float(np.finfo(TYPES[elem_type]).eps)
    assert tolerance(elem_type, 0, 4) - tolerance(elem_type, 0, 1) == pytest.approx(SAFETY * own)


@pytest.mark.parametrize("elem_type", STEPS)
def test_a_step_is_the_distance_of_two_numbers_at_the_end_of_the_range(elem_type: int) -> None:
    dtype = numpy_type(elem_type)
    if "float8" in dtype.name:
        mantissa = ml_dtypes.finfo(dtype).nmant
        assert STEPS[elem_type] == 2.0 ** -(mantissa + 1)
    else:
        info = ml_dtypes.iinfo(dtype)
        assert STEPS[elem_type] == 1 / (int(info.max) - int(info.min) + 1)


def test_a_step_of_a_signed_type_that_is_used_by_half_is_within_its_tolerance() -> None:
    for elem_type, step in STEPS.items():
        assert quantised_tolerance(step, 1) >= 2 * 2 * step, elem_type
