"""Export a small torch network and convert it, in one script.

``python tools/examples/export_and_convert.py OUT.onnx`` writes the converted model. The network stands for one that was
trained on crops of 64 x 48 pixels. Needs torch and onnxscript; without them it says so and does nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_fc2conv as fc2conv

TRAINED, ENLARGED = (64, 48), (256, 320)


def network(nn: Any) -> Any:
    """Three Convs and three FC layers, with random weights; the total stride is 8, the feature map 8 x 6."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 2, stride=2), nn.ReLU()),
        *(nn.Conv2d(8, 12, 2, stride=2), nn.ReLU()),
        *(nn.Conv2d(12, 16, 2, stride=2), nn.ReLU()),
        nn.Flatten(),
        *(nn.Linear(16 * 8 * 6, 32), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)),
    ).eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Export, convert, verify, write; the exit code is 0, also where torch is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUT.onnx", help="where to write the converted model")
    output = parser.parse_args(argv).output
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it
        import torch
    except ImportError as e:
        print(f"nothing was exported: {e.name} is not installed", file=sys.stderr)
        return 0
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, "trained.onnx")
        torch.onnx.export(
            network(torch.nn),
            (torch.zeros(2, 3, *TRAINED),),
            str(exported),
            input_names=["image"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),  # the batch stays free; height and width will be
            external_data=False,
            verbose=False,
        )
        result = fc2conv.convert(exported, sizes=[ENLARGED])
    result.save(output)
    rows, columns = result.geometry.grid_size(ENLARGED)
    print(f"{result.report.verdict}: {rows} x {columns} answers on an image of {ENLARGED[0]} x {ENLARGED[1]} pixels")
    print(result.report.trtexec())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except fc2conv.Fc2ConvError as error:
        sys.exit(str(error))
