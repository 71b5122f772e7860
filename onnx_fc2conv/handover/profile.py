"""The shapes that an engine with dynamic inputs is built for, and the ``trtexec`` arguments that say them.

The grammar of the arguments is that of ``trtexec`` (NVIDIA/TensorRT, ``samples/common/sampleOptions.cpp``): inputs are
separated by commas, which cannot be quoted; a name stands before the last colon, or between single quotes; in a name,
``*`` is a wildcard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import TensorShapeProto

from ..conversion import Conversion, Sizes
from ..geometry import Axis
from ..plan import Dim, Dims

Shape = tuple[int, ...]

SEPARATORS = {",": "commas separate inputs", "'": "single quotes end names", "*": "a star stands for any name"}


@dataclass(frozen=True)
class Profile:
    """The smallest, the best-served and the largest shape of one dynamic input."""

    input: str
    min: Shape
    opt: Shape
    max: Shape


def profiles(
    conversion: Conversion, declared: dict[str, list[TensorShapeProto.Dimension]], sizes: list[Sizes]
) -> list[Profile]:
    """One profile for each input that has a dim that is not fixed.

    ``min`` is of the trained size, ``opt`` of the first of the sizes, ``max`` of the largest along each axis. Which
    sizes are valid is decided axis by axis (``Conversion.valid_sizes``), so the largest of valid ones are a valid size
    themselves. A batch that is not fixed is 1.

    Args:
        conversion: what was converted.
        declared: dims of the written model's inputs, without those that are initializers.
        sizes: valid sizes; none where no size can change.
    """
    sizes = sizes or [conversion.trained]
    largest = {name: tuple(map(max, zip(*(s[name] for s in sizes), strict=True))) for name in conversion.trained}
    images = {image.name: image.dims for image in conversion.plan.images}
    found = []
    for name, dims in declared.items():
        if all(_fixed(dim) for dim in dims):
            continue
        batches: Dims = tuple("batch" for _ in dims)
        meant = images.get(name, batches)
        shapes = (
            tuple(_size(dim, meaning, at) for dim, meaning in zip(dims, meant, strict=True))
            for at in (conversion.trained, sizes[0], largest)
        )
        found.append(Profile(name, *shapes))
    return found


def _fixed(dim: TensorShapeProto.Dimension) -> bool:
    return dim.HasField("dim_value") and dim.dim_value > 0


def _size(dim: TensorShapeProto.Dimension, meaning: Dim, sizes: Sizes) -> int:
    if _fixed(dim):
        return dim.dim_value
    if isinstance(meaning, int):
        return meaning
    return meaning.law(sizes[meaning.source][meaning.index]) if isinstance(meaning, Axis) else 1


def arguments(found: list[Profile]) -> list[str]:
    """``--minShapes=..``, ``--optShapes=..`` and ``--maxShapes=..``, not yet quoted for a shell.

    Nothing if there is no dynamic input, or one whose name cannot be written (``unwritable`` says which).
    """
    if not found or any(True for _ in unwritable(found)):
        return []
    return [
        f"--{which}Shapes={','.join(f'{_name(p.input)}:{_x(getattr(p, which))}' for p in found)}"
        for which in ("min", "opt", "max")
    ]


def assumed(conversion: Conversion, declared: dict[str, list[TensorShapeProto.Dimension]]) -> Iterator[str]:
    """For each dim that is neither fixed nor the batch nor an image's size, a sentence that says what is assumed."""
    images = {image.name for image in conversion.plan.images}
    batches = {dims[0].dim_param for name, dims in declared.items() if name in images}
    for name, dims in declared.items():
        for i, dim in enumerate(dims if name not in images else []):
            if i > 0 and not _fixed(dim) and dim.dim_param not in batches - {""}:
                yield f"input '{name}': dim {i} ('{dim.dim_param or '?'}') is not known and written as 1"


def unwritable(found: list[Profile]) -> Iterator[str]:
    """For each input whose name ``trtexec`` cannot be given, a sentence that says so."""
    for profile in found:
        for character, meaning in SEPARATORS.items():
            if character in profile.input:
                yield (
                    f"trtexec cannot be given the shapes of input '{profile.input}', because to it {meaning}: use "
                    "TensorRT's Python API, which takes any name, or rename the input"
                )
                break


def _name(name: str) -> str:
    return f"'{name}'" if ":" in name else name


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape))
