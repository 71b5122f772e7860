"""At which size of the image the kernel of a head covers its map: the trained size, found from the graph alone.

A map grows with the image, along each axis by itself, so the smallest size and the largest that fit are found by
bisection over shape inference. Backbones that round down give the same map at several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from ..constants import Constants
from ..errors import UnreadableModel, UsageError
from ..ops import Model, Op
from ..settings import Size
from ..shapes import Shapes, declared_batch, infer
from .spenders import Spender, kernel_of

LARGEST = 2**14  #: pixels along an axis; a head that needs more is not looked for
BATCH = 2  #: images, where their number is free

Free = dict[str, list[tuple[str, int]]]  #: the axes of inputs that share a name, by that


@dataclass
class Sizes:
    """The free sizes of one model, and what its heads make of them.

    Attributes:
        model: it.
        spenders: where its heads begin.
        free: the free axes of its inputs.
    """

    model: Model
    spenders: list[Spender]
    free: Free = field(init=False)

    def __post_init__(self) -> None:
        self.free = _free(self.model)

    def shapes(self, chosen: Mapping[str, int]) -> Shapes:
        """Shapes at these sizes.

        Raises:
            UnreadableModel: they are too small for some node.
        """
        by_input: dict[str, dict[int, int]] = {}
        for symbol, size in chosen.items():
            for name, axis in self.free[symbol]:
                by_input.setdefault(name, {})[axis] = size
        return completed(self.model, infer(self.model, declared_batch(self.model) or BATCH, by_input))

    def maps(self, chosen: Mapping[str, int]) -> list[tuple[int, ...]] | None:
        """The spatial size of the map that each spender reads; ``None`` at sizes that are too small for some node."""
        try:
            shapes = self.shapes(chosen)
        except UnreadableModel:
            return None
        dims = [shapes.of(spender.op.inputs[0]) for spender in self.spenders]
        if any(d is None or min(d, default=0) <= 0 for d in dims) or not all(
            self._slides(op, shapes) for op in self.model.ops
        ):
            return None
        return [d[2:] for d in dims if d is not None]

    def _slides(self, op: Op, shapes: Shapes) -> bool:
        """False for a node whose kernel is larger than its padded map, which ONNX's inference lets pass."""
        kernel, dims = kernel_of(self.model, op), shapes.of(op.inputs[0]) if op.inputs else None
        if kernel is None or dims is None or op.op_type == "ConvTranspose" or op.attr("auto_pad", "")[:4] == "SAME":
            return True
        rank = len(kernel)
        pads, dilations = op.attr("pads", [0] * 2 * rank), op.attr("dilations", [1] * rank)
        padded = [n + a + b for n, a, b in zip(dims[2:], pads, pads[rank:], strict=False)]
        return all(n > (k - 1) * d for n, k, d in zip(padded, kernel, dilations, strict=False))

    def fit(self, chosen: Mapping[str, int]) -> bool:
        """Whether every kernel covers its map."""
        maps = self.maps(chosen)
        return maps is not None and all(not s.kernel or s.kernel == m for s, m in zip(self.spenders, maps, strict=True))

    def ranges(self) -> dict[str, tuple[int, int]]:
        """The smallest and the largest size of each free axis at which kernels cover their maps along it.

        Sizes on which no kernel depends are left out.
        """
        large = self._large_enough()
        if large is None:
            return {}
        found = {}
        for symbol in self.free:
            smallest = _smallest(large[symbol], partial(self._covers, large, symbol))
            bound = self._tight({**large, symbol: smallest})
            if bound:
                wider = _smallest(large[symbol], partial(self._frees, large, symbol, bound))
                found[symbol] = smallest, wider - 1
        return found

    def _large_enough(self) -> dict[str, int] | None:
        """Sizes at which every map is larger than its kernel, along axes along which it grows at all."""
        size = 8
        while size <= LARGEST:
            chosen = dict.fromkeys(self.free, size)
            if self.maps(chosen) is not None and not self._tight(chosen):
                return chosen
            size *= 2
        return None

    @cached_property
    def _growing(self) -> set[tuple[int, int]]:
        """Which axes of which maps follow some size."""
        large, half = (self.maps(dict.fromkeys(self.free, n)) for n in (LARGEST, LARGEST // 2))
        pairs = enumerate(zip(large or [], half or [], strict=False))
        return {(i, j) for i, (a, b) in pairs for j, (n, m) in enumerate(zip(a, b, strict=False)) if n != m}

    def _tight(self, chosen: Mapping[str, int]) -> set[tuple[int, int]]:
        """Which growing axes of which maps are no larger than the kernel."""
        maps = self.maps(chosen) or [s.kernel for s in self.spenders]
        pairs = enumerate(zip(self.spenders, maps, strict=True))
        found = {(i, j) for i, (s, m) in pairs for j, (n, k) in enumerate(zip(m, s.kernel, strict=False)) if n <= k}
        return found & self._growing

    def _covers(self, large: Mapping[str, int], symbol: str, size: int) -> bool:
        """Whether every map has its kernel's size at least."""
        maps = self.maps({**large, symbol: size})
        if maps is None:
            return False
        pairs = [(n, k) for s, m in zip(self.spenders, maps, strict=True) for n, k in zip(m, s.kernel, strict=False)]
        return all(n >= k for n, k in pairs)

    def _frees(self, large: Mapping[str, int], symbol: str, bound: set[tuple[int, int]], size: int) -> bool:
        """Whether some map is larger than its kernel along an axis along which it was not."""
        return bool(bound - self._tight({**large, symbol: size}))


def completed(model: Model, shapes: Shapes) -> Shapes:
    """Shapes, with those that ONNX's inference leaves open because a target shape is computed."""
    Constants(model, shapes, None)  # notes them while it gets ready
    return shapes


def _smallest(large: int, enough: Callable[[int], bool]) -> int:
    """The smallest number that is enough; ``large`` is, 0 is not, and so is every number behind one that is."""
    low, high = 0, large
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _free(model: Model) -> Free:
    """Axes behind the first one without a number, of inputs that have positions."""
    found: Free = {}
    for value in model.inputs:
        dims = value.type.tensor_type.shape.dim
        if len(dims) < 3:
            continue
        for axis, dim in enumerate(dims):
            if axis and not dim.dim_value:
                found.setdefault(dim.dim_param or f"{value.name}[{axis}]", []).append((value.name, axis))
    return found


def likely(low: int, high: int) -> int:
    """Of a range of sizes the one that halves most often, which is how sizes are chosen; the smallest of several."""
    step = 1
    while -(-low // (2 * step)) * 2 * step <= high:
        step *= 2
    return -(-low // step) * step


def chosen_size(sizes: Sizes, asked: tuple[Size, ...]) -> dict[str, int]:
    """The size that was asked for, by the name of each free axis.

    Raises:
        UsageError: several were asked for, or it has another number of axes than an input has free ones.
    """
    if len(asked) > 1:
        raise UsageError("one size can be asked for, the one that the model was trained at")
    chosen: dict[str, int] = {}
    size = "x".join(map(str, asked[0]))
    for value in sizes.model.inputs:
        symbols = [s for s, places in sizes.free.items() for name, _ in places if name == value.name]
        if symbols and len(symbols) != len(asked[0]):
            raise UsageError(f"size {size} has {len(asked[0])} axes, input '{value.name}' has {len(symbols)} free ones")
        for symbol, n in zip(symbols, asked[0], strict=False):
            if chosen.setdefault(symbol, n) != n:
                raise UsageError(f"the axes of input '{value.name}' that are '{symbol}' must have one size")
    if not chosen:
        raise UsageError(f"size {size} cannot be asked for: the inputs have fixed sizes")
    return chosen
