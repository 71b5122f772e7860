"""``python -m onnx_fc2conv.heatmap MODEL PICTURE -o OUT``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from ..cli.command import Parser, Unprinted, guarded, printed, say
from ..errors import printable
from .settings import HeatmapSettings

PROGRAM = "onnx_fc2conv.heatmap"
DESCRIPTION = (
    "Run a model that onnx-fc2conv converted on a picture of any size, print the best boxes, and draw them with the "
    "map of answers over the picture."
)
EXIT_CODES = "exit codes: 0 done, boxes or not; 2 usage, or the model or the picture could not be read"


def parser() -> argparse.ArgumentParser:
    """The argument parser; its options are the fields of the settings."""
    result = Parser(prog=f"python -m {PROGRAM}", description=DESCRIPTION, epilog=EXIT_CODES, allow_abbrev=False)
    result.add_argument("model", metavar="MODEL", help="a converted model (.onnx)")
    result.add_argument("picture", metavar="PICTURE", help="any picture that Pillow reads")
    for f in fields(HeatmapSettings):
        flag = f.metadata.get("flag", "--" + f.name)
        extras: dict[str, Any] = {"dest": f.name, "help": f.metadata["help"].replace("%", "%%"), "default": f.default}
        if isinstance(f.default, bool):
            extras["action"] = "store_true"
        else:
            extras |= {key: f.metadata[key] for key in ("metavar", "choices") if key in f.metadata}
        if "parse" in f.metadata:
            extras["type"] = partial(f.metadata["parse"], flag)
        result.add_argument(flag, **extras)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; whatever goes wrong is one line on stderr."""
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)  # where its cache lies is nobody's concern here
    return guarded(PROGRAM, lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = vars(parser().parse_args(argv))
    except SystemExit as e:  # --help
        return int(e.code or 0)
    model, picture = arguments.pop("model"), arguments.pop("picture")
    settings = HeatmapSettings(**arguments)

    from .. import model_io
    from . import drawing
    from .detection import Heat, found
    from .model import load
    from .picture import library, pixels_of, write

    for name in ("PIL", "matplotlib"):
        library(name)
    if settings.out is not None:
        model_io.Target.of(settings.out, model, picture)
    heat: Heat = found(load(model), pixels_of(picture), settings)
    if settings.out is not None:
        write(drawing.draw(heat), settings.out)
    try:
        if not settings.quiet:
            printed(lambda: print(text(heat, model, picture)), settings.out)
    except Unprinted as e:
        return say(PROGRAM, str(e), 2)
    return 0


def text(heat: Any, model: str, picture: str) -> str:
    """What is printed of a heat map."""
    height, width = heat.pixels.shape[:2]
    which = f"output '{heat.output}'"
    if heat.channels > 1:
        label = f" '{heat.label}'" if heat.label else ""
        which += f", channel {heat.channel}{label} of {heat.channels}"
    lines = [printable(f"{model} on {picture} ({height}x{width}): {which}, stride {'x'.join(map(str, heat.stride))}")]
    for layer, answers in zip(heat.layers, heat.answers, strict=True):
        grid = "x".join(map(str, answers.shape))
        lines.append(f"scale {layer.scale:g}: {grid} = {answers.size} answers, the highest {answers.max():.4g}")
    found = heat.detections
    lines.append(
        f"{len(found)} {'box' if len(found) == 1 else 'boxes'}{': score at y0, x0, y1, x1 (scale)' if found else ''}"
    )
    for d in found:
        box = ", ".join(f"{v:.1f}".removesuffix(".0") for v in d.box)
        lines.append(f"  {d.score:.4f} at {box} ({d.scale:g})")
    return "\n".join(lines)
