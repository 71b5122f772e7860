"""The explicit matrix of a linear operator, with what its input and its result still need taken in.

It is stored as ``[columns, rows]`` for a Gemm with ``transB=1``: so exporters write an FC, the weights of one output
side by side, and so importers expect one. Entries are computed in double precision and rounded once; a weight that
nothing is folded into is copied bit for bit.
"""

from __future__ import annotations

from math import prod

import numpy as np

from .linear import Block, Linear
from .reading import Reading


def nonzeros(linear: Linear, reads: Reading) -> int:
    """Entries that are not zero because of the structure, without the matrix; by arithmetic, unless features are cut.

    Args:
        linear: the operator.
        reads: how its input is read; nothing twice.
    """
    if not reads.fills or reads.index is None:
        return linear.nonzeros
    found = 0
    for block in linear.blocks():
        read = int((reads.index[block.rows] >= 0).sum())
        found += read * (prod(block.shape) // block.rows.size)
    return found


def build(
    linear: Linear, reads: Reading, size: int, result: Reading, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | None]:
    """The matrix and the bias of ``result(linear(reads(x)))``.

    Args:
        linear: the operator.
        reads: how its input is read from ``x``; nothing twice.
        size: features of ``x``.
        result: what is done to each of its results; a permutation, scales and shifts.
        dtype: of matrix and bias.

    Returns:
        ``[columns, size]`` and ``[columns]``; no bias if it is zero because of the structure.
    """
    matrix = np.zeros((linear.columns, size), dtype)
    places = None if result.index is None else np.argsort(result.index)
    offset = linear.offset() if linear.offset else None
    shifted = None if reads.shift is None else np.zeros(linear.columns)
    for block in linear.blocks():
        values = block.values()
        if shifted is not None and reads.shift is not None:
            _add(shifted, block, values.astype(np.float64) * reads.shift[block.rows])
        columns = block.columns if places is None else places[block.columns]
        if reads.scale is not None:
            values = values.astype(np.float64) * reads.scale[block.rows]
        if result.scale is not None:
            values = values.astype(np.float64) * result.scale[columns]
        _put(matrix, columns, block.rows if reads.index is None else reads.index[block.rows], values)
    bias = offset if shifted is None else shifted if offset is None else shifted + offset
    if bias is None and result.shift is None:
        return matrix, None
    bias = result.apply(np.zeros(linear.columns) if bias is None else bias)
    return matrix, bias.astype(dtype)


def _add(sums: np.ndarray, block: Block, values: np.ndarray) -> None:
    """Add up what goes into each column."""
    columns, values = np.broadcast_arrays(block.columns, values)
    sums += np.bincount(columns.ravel(), values.ravel(), len(sums))


def _put(matrix: np.ndarray, columns: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Write entries, without those of features that read nothing."""
    if (rows < 0).any():
        rows, columns, values = np.broadcast_arrays(rows, columns, values)
        kept = rows >= 0
        rows, columns, values = rows[kept], columns[kept], values[kept]
    matrix[columns, rows] = values
