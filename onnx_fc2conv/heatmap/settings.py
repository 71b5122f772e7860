"""The options of ``python -m onnx_fc2conv.heatmap``."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from ..errors import UsageError
from ..settings.late import Late
from ..settings.options import option
from .preprocessing import PRESETS

ACTIVATIONS = ("none", "sigmoid", "softmax")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")  #: what can be written
LARGEST_SCALE = 16.0


def numbers(flag: str, text: str) -> tuple[float, ...]:
    """``"0.5,1,2"`` -> ``(0.5, 1.0, 2.0)``.

    Raises:
        UsageError: the text is not numbers with commas between.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise UsageError(f"{flag} {text!r} must be a number, or several with commas between, such as 0.5,1,2")
    return found


def number(flag: str, text: str) -> float:
    """``"0.5"`` -> ``0.5``.

    Raises:
        UsageError: the text is not one number.
    """
    try:
        (found,) = numbers(flag, text)
    except (UsageError, ValueError):
        raise UsageError(f"{flag} {text!r} must be a number, such as 0.5") from None
    return found


def count(flag: str, text: str) -> int:
    """``"7"`` -> ``7``.

    Raises:
        UsageError: the text is no whole number of at least 0.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{flag} {text!r} must be a whole number of at least 0, such as 7")
    return int(text)


class HeatmapSettings(Late):
    """What a user may ask for; a field per option, documented by its ``help``."""

    out: str | None = option(
        None,
        "the picture to write (.png, .jpg or .webp); without it the boxes are only printed",
        flag="-o",
        metavar="OUT",
    )
    threshold: float = option(0.5, "the lowest score of a box (default: 0.5)", parse=number, metavar="X")
    top: int = option(10, "the most boxes (default: 10)", parse=count, metavar="N")
    iou: float = option(
        0.2,
        "of two boxes that overlap by more than this share (intersection over union), only the better one is kept "
        "(default: 0.2)",
        parse=number,
        metavar="X",
    )
    scales: tuple[float, ...] = option(
        (1.0,),
        "sizes of the picture to look at, as factors; suppression is over all of them (default: 1)",
        parse=numbers,
        metavar="X,X,..",
    )
    output: str | None = option(None, "the output of the model, if it has several", metavar="NAME")
    channel: int | None = option(
        None,
        "which of the output's answers, from 0 on (default: the one that is highest anywhere)",
        parse=count,
        metavar="N",
    )
    label: str | None = option(None, "the same by its name in the file of --labels", metavar="NAME")
    labels: str | None = option(None, "a text file with one name per channel and line", metavar="FILE")
    activation: str = option(
        "none", "what to apply to the answers, if they are logits", choices=ACTIVATIONS, metavar="|".join(ACTIVATIONS)
    )
    preset: str | None = option(
        None,
        "what becomes of pixels from 0 to 255: "
        + "; ".join(f"{name}, {p.words}" for name, p in PRESETS.items())
        + " (default: unit; none for inputs of integers)",
        choices=tuple(PRESETS),
        metavar="|".join(PRESETS),
    )
    scale: float | None = option(None, "multiply pixels by this, in place of the preset's", parse=number, metavar="X")
    mean: tuple[float, ...] | None = option(
        None, "then subtract this, one number or one for each channel", parse=numbers, metavar="X,X,X"
    )
    std: tuple[float, ...] | None = option(
        None, "then divide by this, one number or one for each channel", parse=numbers, metavar="X,X,X"
    )
    bgr: bool = option(False, "the model wants blue first")
    quiet: bool = option(False, "print nothing but errors")

    def __post_init__(self) -> None:
        for f in fields(self):
            given, choices = getattr(self, f.name), f.metadata.get("choices")
            if choices and given is not None and given not in choices:
                raise UsageError(f"{f.name} {given!r} is none of {', '.join(choices)}")
        for name in ("scales", "mean", "std"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _floats(name, given))
        if not 0 <= self.iou <= 1:
            raise UsageError(f"--iou {self.iou:g} is not between 0 and 1")
        if math.isnan(self.threshold):
            raise UsageError("--threshold is not a number")
        if not self.scales or not all(0 < s <= LARGEST_SCALE for s in self.scales):
            raise UsageError(f"--scales {_words(self.scales)} must be above 0 and at most {LARGEST_SCALE:g}")
        if self.std is not None and 0 in self.std:
            raise UsageError(f"--std {_words(self.std)} would divide by 0")
        if self.top < 0 or (self.channel or 0) < 0:
            raise UsageError("--top and --channel are counted from 0 on")
        if self.label is not None and self.labels is None:
            raise UsageError("--label is looked up in the file of --labels, so give that too")
        if self.label is not None and self.channel is not None:
            raise UsageError("--channel and --label are two ways to choose one answer; give one of them")
        if self.out is not None and not self.out.lower().endswith(PICTURES):
            raise UsageError(f"'{self.out}' must end in {', '.join(PICTURES)}")


def _floats(name: str, given: Any) -> tuple[float, ...]:
    """One number, or several, of whoever calls from Python."""
    try:
        found = (float(given),) if isinstance(given, (int, float)) else tuple(map(float, given))
    except (TypeError, ValueError):
        raise UsageError(f"{name} {given!r} is not made of numbers") from None
    if not all(map(math.isfinite, found)):
        raise UsageError(f"{name} {given!r} is not made of finite numbers")
    return found


def _words(given: tuple[float, ...]) -> str:
    return ",".join(f"{x:g}" for x in given)
