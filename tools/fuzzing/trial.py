"""One command on one file, and the rules that hold whatever the file is.

A run that fails leaves no file behind and says one line that begins with the program's name. A run that succeeds has
written what it was asked for, all of it, and nothing else. No run says "internal error" or prints a traceback.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

PROGRAMS = {"onnx-fc2conv": "main", "onnx-conv2fc": "main_reverse"}
CODES = (0, 1, 2, 3)
LONGEST_LINE = 500

#: verdicts that are no failure
FINE = ("ok", "refused", "unreadable", "rejected", "unjudged", "illegal", "headless", "reread", "caught")


@dataclass(frozen=True)
class Verdict:
    """What came of a case.

    Attributes:
        kind: one of ``FINE``, or what went wrong: crash, hang, traceback, internal error, stderr, exit, partial,
            wrong, check failed, not reverted.
        text: what was seen.
        code: the exit code of the command.
    """

    kind: str
    text: str = ""
    code: int | None = None

    @property
    def failed(self) -> bool:
        """Whether it is one to look into."""
        return self.kind not in FINE


@dataclass(frozen=True)
class Trial:
    """One command on a file that lies in a folder of its own.

    Attributes:
        folder: there, with nothing else in it.
        program: a key of ``PROGRAMS``.
        options: of the command.
        writes: whether an output file is given.
        source, target: names of the two files.
        may_also: names of further files that it may write.
    """

    folder: Path
    program: str
    options: tuple[str, ...] = ()
    writes: bool = True
    source: str = "in.onnx"
    target: str = "out.onnx"
    may_also: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """What is given to the command."""
        files = [self.source, self.target] if self.writes else [self.source]
        return [str(self.folder / f) for f in files] + list(self.options)

    @property
    def output(self) -> Path:
        """The file that it writes."""
        return self.folder / self.target


@dataclass
class Said:
    """What a command printed."""

    out: str = ""
    err: str = ""
    code: int | None = None
    error: BaseException | None = field(default=None)


@contextmanager
def overheard() -> Iterator[Said]:
    """Everything that is written to stdout and stderr meanwhile, by C++ libraries too."""
    said = Said()
    kept = (sys.stdout, sys.stderr)
    for stream in kept:
        stream.flush()
    copies = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", encoding="utf-8") for n in (1, 2))
        try:
            yield said
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.close()
            sys.stdout, sys.stderr = kept
            for copy, number in zip(copies, (1, 2), strict=True):
                os.dup2(copy, number)
                os.close(copy)
            said.out, said.err = (_text(f) for f in (out, err))


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", "replace"))


def call(trial: Trial) -> Said:
    """Run the command in this process."""
    from onnx_fc2conv import cli

    main: Callable[[Sequence[str]], int] = getattr(cli, PROGRAMS[trial.program])
    with overheard() as said:
        try:
            said.code = main(trial.arguments)
        except BaseException as e:  # a user would see its traceback
            said.error = e
    return said


def run(trial: Trial, judge: Callable[[Trial], Verdict | None] | None = None, may_lie: bool = False) -> Verdict:
    """Run the command and hold it to the rules.

    Args:
        trial: the command.
        judge: says what is wrong with the file that was written, or returns ``None``.
        may_lie: the model may declare what is not so; then ``--no-verify`` may believe it, if the checks do not.
    """
    before = _files(trial.folder)
    said = call(trial)
    if said.error is not None:
        return Verdict("traceback", f"{type(said.error).__name__}: {said.error}")
    verdict = _of_what_was_said(trial, said) or _of_what_was_left(trial, said, before)
    if verdict is not None:
        return verdict
    if said.code:
        kind = {1: "refused", 2: "unreadable", 3: "rejected"}[said.code]
        if "--check" in trial.options and said.code == 1:
            kind = "ok"
        return Verdict(kind, said.err.strip(), said.code)
    found = judge(trial) if judge is not None and trial.writes else None
    if may_lie and found is not None and found.kind == "wrong" and "--no-verify" in trial.options:
        return _with_the_checks(trial) or found
    return found or Verdict("ok", "", 0)


def _with_the_checks(trial: Trial) -> Verdict | None:
    """Whether what is wrong is not written where it is checked, as it is unless a user says otherwise."""
    trial.output.unlink()
    checked = replace(trial, options=tuple(o for o in trial.options if o != "--no-verify"))
    verdict = run(checked)
    return replace(verdict, kind="caught") if verdict.kind in ("rejected", "refused", "unreadable") else None


def _of_what_was_said(trial: Trial, said: Said) -> Verdict | None:
    both = said.out + said.err
    if "Traceback (most recent call last)" in both:
        return Verdict("traceback", both[-2000:], said.code)
    if "internal error" in said.err:
        return Verdict("internal error", said.err.strip(), said.code)
    if said.code not in CODES:
        return Verdict("exit", f"exit code {said.code}: {said.err[:500]}", said.code)
    if "--quiet" in trial.options and said.out:
        return Verdict("stdout", f"--quiet says {said.out[:500]!r}", said.code)
    findings = "--check" in trial.options and said.code == 1 and not said.err
    lines = said.err.splitlines()
    if (said.code == 0 or findings) and lines:
        return Verdict("stderr", f"a success says {said.err[:500]!r} on stderr", said.code)
    clean = len(lines) == 1 and lines[0].startswith(f"{trial.program}: ") and said.err.endswith("\n")
    if said.code and not findings and not (clean and len(lines[0]) <= LONGEST_LINE and lines[0].isprintable()):
        return Verdict("stderr", f"a failure says {said.err[:2000]!r}", said.code)
    return None


def _of_what_was_left(trial: Trial, said: Said, before: dict[str, bytes]) -> Verdict | None:
    after = _files(trial.folder)
    changed = [n for n in before if after.get(n) != before[n]]
    if changed:
        return Verdict("partial", f"{changed} of the input changed", said.code)
    written = sorted(after.keys() - before.keys())
    allowed = {trial.target, *trial.may_also} if trial.writes and said.code == 0 else set[str]()
    if trial.writes and said.code == 0 and trial.target not in written:
        return Verdict("partial", f"exit code 0, and there is no '{trial.target}'", 0)
    extra = [n for n in written if n not in allowed and not (allowed and n.startswith(f"{trial.target}."))]
    return Verdict("partial", f"exit code {said.code}, and {extra} were left behind", said.code) if extra else None


def _files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; what is no regular file by its kind."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() and not p.is_symlink() else b"-"
        for p in folder.rglob("*")
    }


def judged(trial: Trial) -> Verdict | None:
    """The verdict of ``pairs`` on a file of which nothing is known but its original."""
    from .pairs import Pair, Unjudged, judge
    from .runtime import CannotRun

    options = trial.options
    form = options[options.index("--output") + 1] if "--output" in options else "map"
    try:
        pair = Pair.load(str(trial.folder / trial.source), str(trial.output), form, "--stride" in options)
        wrong = judge(pair)
    except Unjudged as e:
        return Verdict("unjudged", str(e)[:300], 0)
    except CannotRun as e:
        return Verdict("wrong", f"what was written does not run: {e}"[:500], 0)
    return Verdict("wrong", wrong, 0) if wrong else None
