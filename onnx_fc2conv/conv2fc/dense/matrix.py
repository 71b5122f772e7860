"""The explicit matrix of a linear operator, with what its input and its result still need taken in.

It is stored as ``[columns, rows]`` for a Gemm with ``transB=1``: so exporters write an FC, the weights of one output
side by side, and so importers expect one. Entries are computed in double precision and rounded once; a weight that
nothing is folded into is copied bit for bit.
"""

from __future__ import annotations

from math import prod

import numpy as np

from .linear import Linear
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


def build(linear: Linear, reads: Reading, size: int, result: Reading, dtype: np.dtype) -> np.ndarray:
    """The matrix ``[columns, size]`` of ``result(linear(reads(x)))``.

    Args:
        linear: the operator.
        reads: how its input is read from ``x``; nothing twice.
        size: features of ``x``.
        result: what is done to each of its results; a permutation, scales and shifts.
        dtype: of the matrix.
    """
    matrix = np.zeros((linear.columns, size), dtype)
    places = None if result.index is None else np.argsort(result.index)
    for block in linear.blocks():
        values = block.values()
        columns = block.columns if places is None else places[block.columns]
        if reads.scale is not None:
            values = values.astype(np.float64) * reads.scale[block.rows]
        if result.scale is not None:
            values = values.astype(np.float64) * result.scale[columns]
        _put(matrix, columns, block.rows if reads.index is None else reads.index[block.rows], values)
    return matrix


def bias_of(linear: Linear, reads: Reading, result: Reading, dtype: np.dtype) -> np.ndarray | None:
    """The bias ``[columns]`` that belongs to this matrix; ``None`` if it is zero because of the structure."""
    bias = linear.offset() if linear.offset else np.zeros(linear.columns)
    if reads.shift is not None:
        for block in linear.blocks():
            columns, values = np.broadcast_arrays(
                block.columns, block.values().astype(np.float64) * reads.shift[block.rows]
            )
            bias = bias + np.bincount(columns.ravel(), values.ravel(), len(bias))
    elif not linear.offset and result.shift is None:
        return None
    return result.apply(bias).astype(dtype)


def _put(matrix: np.ndarray, columns: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Write entries, without those of features that read nothing."""
    if (rows < 0).any():
        rows, columns, values = np.broadcast_arrays(rows, columns, values)
        kept = rows >= 0
        rows, columns, values = rows[kept], columns[kept], values[kept]
    matrix[columns, rows] = values
