"""Where to write, checked before any work is done; and small files, written in one rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError


@dataclass
class Target:
    """A file to be written, checked before any work is done."""

    path: Path

    @classmethod
    def of(cls, path: Any, *sources: Any) -> Target:
        """Check that the target can be written and is not one of the sources.

        Raises:
            UsageError: it is a folder, its folder is missing or not writable, or it is a file that is read.
        """
        target = Path(os.fspath(path))
        try:
            if target.is_dir():
                raise UsageError(f"'{target}' is a folder; name the file to write")
            if not target.parent.is_dir():
                raise UsageError(f"cannot write '{target}': the folder '{target.parent}' does not exist")
            if target.exists() and not target.is_file():
                raise UsageError(f"'{target}' is not a regular file")
            for source in sources:
                if target.exists() and _is_file(source) and os.path.samefile(target, source):
                    raise UsageError(f"'{target}' is the input itself; it is never changed, so name another file")
            if not os.access(target.parent, os.W_OK):
                raise UsageError(f"cannot write '{target}': no permission to write into '{target.parent}'")
        except OSError as e:
            raise UsageError(f"cannot write '{target}': {e.strerror or e}") from e
        return cls(target)


def _is_file(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and Path(source).exists()


def write_text(path: Any, text: str) -> None:
    """Write a small text file (a report) in one rename.

    Raises:
        UsageError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Any, data: bytes) -> None:
    """Write a small file (a report, a picture) in one rename.

    Raises:
        UsageError: it cannot be written.
    """
    target = Target.of(path).path
    try:
        private = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        try:
            (private / "file").write_bytes(data)
            os.replace(private / "file", target)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as e:
        raise UsageError(f"cannot write '{target}': {e.strerror or e}") from e
