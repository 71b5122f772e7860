"""The pictures of the README: a street, and the detector's map of it at each stride.

``python -m tools.dress_pictures`` draws the street and, with the detector of dresses converted, its heat maps into
``tools/pictures``, and prints a Markdown table of what was found where.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnx_fc2conv import convert, heatmap
from onnx_fc2conv.heatmap.picture import pixels_of, write
from onnx_fc2conv.heatmap.suppression import overlaps
from tools.dress.street import Scene, street

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "dress_64x128.onnx"
PICTURES = Path(__file__).parent / "pictures"
SEED = 6
STRIDES = (32, 8)
ENOUGH = 0.5  #: intersection over union with a dress's window that counts as found
COLUMNS = ("stride", "answers", "mean overlap", "dresses found", "false alarms")


def judged(scene: Scene, found: Sequence[heatmap.Detection]) -> tuple[list[float], int]:
    """The overlap (IoU) of each dress's window with the best box on it, and how many boxes are on none."""
    boxes = np.array([d.box for d in found]).reshape(-1, 4)
    dresses = np.array(scene.dresses).reshape(-1, 4)
    table = np.array([overlaps(dress, boxes) for dress in dresses]).reshape(len(dresses), len(boxes))
    return [float(row.max(initial=0)) for row in table], int((table.max(0, initial=0) < ENOUGH).sum())


def row(scene: Scene, picture: Path, stride: int, out: Path) -> tuple[str, ...]:
    """Draw one heat map; the table's row of it."""
    pixels = pixels_of(picture)
    height, width = pixels.shape[:2]
    loaded = heatmap.load(convert(MODEL, sizes=[(height, width)], stride=stride).model)
    heat = heatmap.heat(loaded, pixels)
    write(heatmap.draw(heat), str(out))
    found, alarms = judged(scene, heat.detections)
    height, width = heat.answers[0].shape
    return (
        str(stride),
        f"{height} x {width} = {height * width}",
        f"{np.mean(found):.2f}",
        f"{sum(overlap >= ENOUGH for overlap in found)} of {len(found)}",
        str(alarms),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the pictures and print the table."""
    parser = argparse.ArgumentParser(prog="dress_pictures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"of the street (default: {SEED})")
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="FOLDER", help="default: tools/pictures")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    scene, picture = street(arguments.seed), arguments.out / "street.jpg"
    write(scene.picture, str(picture))
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for stride in STRIDES:
        print("| " + " | ".join(row(scene, picture, stride, arguments.out / f"dresses_{stride}.jpg")) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
