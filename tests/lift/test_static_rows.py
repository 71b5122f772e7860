"""Heads of every rule, converted without a change of size: a part of the tables of this folder.

What windows prove for a rule, one cell has to give too; here it meets what restores, carries and opens values.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

from ..networks import assert_close, feeds_of, network, session
from .tables import Lifts
from .test_registry import modules
from .test_static import signature

EVERY = 15  #: of all rows, one in so many
LEFT = ("would need a copy of its weights", "computed at run time")  #: why there may be nothing to convert
ROWS: dict[str, Lifts] = {
    f"{module.__name__.rsplit('.', 1)[1]}: {name}": row
    for module in modules()
    for name, row in getattr(module, "LIFTS", {}).items()
}


@pytest.mark.parametrize("name", list(ROWS)[::EVERY])
def test_row(name: str) -> None:
    row = ROWS[name]
    original = network(row.head)
    try:
        result = fc2conv.convert(original, static=True, verify=False)
    except fc2conv.NothingToConvert as e:
        if not any(reason in e.reason for reason in LEFT):
            raise
        return
    assert signature(result.model) == signature(original)
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(row.head.dtype))
    allowed = tolerance(elem_type, row.terms, row.nodes) if row.terms or row.nodes else 0.0
    for batch in (1, row.images):
        feeds = feeds_of(row.head, [0] * len(row.head.window), batch)
        if batch == 1 and row.images != 1 and not _runs(original, feeds):
            continue
        expected = session(original).run(None, feeds)
        for reference, found in zip(expected, session(result.model).run(None, feeds), strict=True):
            assert found.dtype == reference.dtype
            assert found.shape == reference.shape
            assert_close(found, reference, allowed)


def _runs(model: ModelProto, feeds: dict[str, np.ndarray]) -> bool:
    try:
        session(model).run(None, feeds)
    except Exception:  # a head for several images
        return False
    return True
