"""How much a converted model is off the exact answers, and how much its original is.

``python -m tools.numerical_truth`` converts every model of ``models/`` and of the corpus whose folder
``ONNX_FC2CONV_CORPUS`` names, and evaluates the originals in double precision. The error of a converted model may be
twice its original's own and one unit in the last place of the output's scale; the ratio in the table is its error as a
share of that. One row for each kind of model; the exit code is 1 if one is beyond.

What is judged are the nodes as they are written. Beside them stands the worst ratio of both models as onnxruntime
optimises them, which tells of its kernels: its Conv in blocks of channels rounds more than its Gemm does, and more than
its own Conv without blocks (a sum of 2592 products was off by 1.3e-6 of the scale there, else by 6e-7, as a Gemm by
3e-7), whoever wrote the Conv. For the same reason a model that is beyond is asked once more on onnx.reference, in its
own precision, where Conv and Gemm are one product of numpy: if it is not beyond there, its nodes are as good as the
original's, and it is listed with both ratios and does not count.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

import onnx_fc2conv as fc2conv
from tools.truth.doubled import NotEvaluated
from tools.truth.measure import ROUNDS, Measured, measure
from tools.truth.single import Neutral
from tools.truth.windows import Pair

ROOT = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("ONNX_FC2CONV_CORPUS") or ROOT.parent / "shared" / "models")
LIMIT = 2**27  #: multiplications of one evaluation; onnx.reference takes about a second for them
COLUMNS = (
    "models",
    "element type",
    "evaluated",
    "windows",
    "values",
    "worst ratio",
    "of",
    "optimised",
    "not evaluated",
)


@dataclass
class Row:
    """What was found about the models of one kind."""

    models: int = 0
    measured: dict[str, Measured] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def cells(self) -> tuple[str, ...]:
        """The columns from ``evaluated`` on."""
        worst = max(self.measured, key=lambda name: self.measured[name].ratio, default="")
        return (
            str(len(self.measured)),
            str(sum(m.windows for m in self.measured.values())),
            str(sum(m.values for m in self.measured.values())),
            f"{self.measured[worst].ratio:.2g}" if worst else "",
            worst,
            f"{max(m.optimised_ratio for m in self.measured.values()):.2g}" if worst else "",
            str(self.models - len(self.measured)),
        )


def paths(given: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The models that are asked for, each with the name of its kind."""
    for folder in map(Path, given) if given else (ROOT / "models", CORPUS):
        for path in sorted(folder.rglob("*.onnx")) if folder.is_dir() else [folder]:
            part = path.relative_to(folder).parts if folder.is_dir() else (path.name,)
            yield (part[0] if len(part) > 1 else path.parent.name), path


def looked_at(path: Path, limit: int, seed: int, rounds: int) -> tuple[str, Measured | str | None]:
    """Element type, and what was found about one model, or why nothing was; ``None`` if it is not converted."""
    try:
        model = onnx.load(path)
        pair = Pair.of(model)
    except (fc2conv.Fc2ConvError, OSError, ValueError) as e:
        return "", None if isinstance(e, fc2conv.Fc2ConvError) else "onnx does not read it"
    except Exception:  # what protobuf and onnx raise for a damaged file
        return "", "onnx does not read it"
    elem_type = onnx.TensorProto.DataType.Name(model.graph.input[0].type.tensor_type.elem_type).lower()
    try:
        found = measure(pair, limit, seed, rounds)
    except NotEvaluated as e:
        return elem_type, str(e)
    if not found.ratio <= 1:
        with suppress(NotEvaluated):
            found.neutral = measure(replace(pair, load=Neutral), limit, seed, rounds).ratio
    return elem_type, found


def collected(given: Sequence[str], every: int, limit: int, seed: int, rounds: int) -> dict[tuple[str, str], Row]:
    """The table's rows, by folder and element type; models that are not converted are in none."""
    rows: dict[tuple[str, str], Row] = {}
    for kind, path in list(paths(given))[::every]:
        elem_type, found = looked_at(path, limit, seed, rounds)
        if found is None:
            continue
        row = rows.setdefault((kind, elem_type), Row())
        row.models += 1
        if isinstance(found, str):
            row.reasons[found] += 1
        else:
            row.measured[path.stem] = found
            print(
                f"{found.ratio:8.2g} {found.optimised_ratio:8.2g} {found.windows:4d} {kind}/{path.name} {found.unseen}",
                file=sys.stderr,
            )
    return rows


def show(rows: dict[tuple[str, str], Row]) -> None:
    """Print the table, then what was not evaluated or only in part, and why."""
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for kind, row in sorted(rows.items()):
        print("| " + " | ".join((*kind, *row.cells())) + " |")
    for title, reasons in (
        ("not evaluated", sum((row.reasons for row in rows.values()), Counter[str]())),
        ("at the trained size only", Counter(m.unseen for r in rows.values() for m in r.measured.values() if m.unseen)),
    ):
        print(f"\n{title}: {sum(reasons.values())}")
        for reason, count in reasons.most_common():
            print(f"  {count:4d} {reason}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a converted model is off by more than is accepted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", help="files and folders; default: models/ and the corpus")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th model")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=f"multiplications; default: {LIMIT}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"images a size; default: {ROUNDS}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the images; default: 0")
    options = parser.parse_args(argv)
    rows = collected(options.models, options.every, options.limit, options.seed, options.rounds)
    show(rows)
    beyond = [(name, m) for row in rows.values() for name, m in row.measured.items() if not m.ratio <= 1]
    for name, m in beyond:
        print(f"{name}: {m.ratio:.2g} of what is accepted, on onnx.reference {m.neutral:.2g}")
        for output, e in m.errors.items():
            print(f"{name}: '{output}' off by {e.converted:.3g}, the original by {e.original:.3g}, unit {e.unit:.3g}")
    return 1 if any(not m.neutral <= 1 for _, m in beyond) else 0


if __name__ == "__main__":
    sys.exit(main())
