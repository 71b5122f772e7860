"""The values of large tensors: mapped once, however many models refer to them and however many sessions read them.

What a converted model shares with its original are bytes in one place of one file, under other names and dims. They are
known by that place. Values that are given inside of a model are known by themselves: equal ones are kept once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ..places import Place
from ..tensors import read, where


class Weights:
    """Arrays by the place of their bytes. One for all sessions of a verification."""

    def __init__(self) -> None:
        self._placed: dict[tuple[Place, int], np.ndarray] = {}
        self._inline: dict[tuple[object, ...], list[np.ndarray]] = {}

    def of(self, tensor: TensorProto, folder: str) -> np.ndarray:
        """The values of a tensor, contiguous; where they are stored otherwise, a copy is made once.

        Args:
            tensor: of a type whose elements are whole bytes.
            folder: where its external data lies.

        Raises:
            UnreadableModel: the external data is not a file inside the folder.
        """
        if tensor.data_location != TensorProto.EXTERNAL:
            return self._known(read(tensor, folder))
        key = replace(where(tensor, folder), version=None, said=False), tensor.data_type
        if key not in self._placed:
            self._placed[key] = np.ascontiguousarray(read(tensor, folder)).reshape(-1)
        return self._placed[key].reshape(tuple(tensor.dims))

    def _known(self, values: np.ndarray) -> np.ndarray:
        """The same values in the array that holds them already, if there is one."""
        values = np.ascontiguousarray(values)
        known = self._inline.setdefault((values.dtype, values.size), [])
        for array in known:
            if np.array_equal(_bits(array), _bits(values)):
                return array.reshape(values.shape)
        known.append(values)
        return values


def _bits(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint8)
