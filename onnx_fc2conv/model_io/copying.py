"""Bytes from file to file: in the kernel where it can do that, and in blocks where they have to be moved on the way.

Nothing here ever holds more than a few blocks, so that a model may be larger than the memory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from ..errors import UnreadableModel
from ..places import Place
from .exchange import Chunks
from .moving import moved

BLOCK = 2**24  #: bytes that are held at once
AT_ONCE = 2**30  #: bytes that the kernel is asked for at once


def write(chunks: Chunks, f: BinaryIO) -> None:
    """Write all of it at the end of an open file.

    Raises:
        UnreadableModel: a file that bytes are taken from was changed meanwhile.
        OSError: the disk is full, or the like.
    """
    for chunk in chunks:
        if isinstance(chunk, bytes):
            f.write(chunk)
        elif chunk.place.view is None:
            f.flush()
            _copy(chunk.place, f)
        else:
            for block in moved(chunk.place, chunk.place.view, chunk.elem_type):
                f.write(block.view(np.uint8).data)


def _copy(place: Place, target: BinaryIO) -> None:
    """A stretch of a file, at the end of another one."""
    source, out = place.open(), target.fileno()
    try:
        done = _in_kernel(source, place.offset, place.length, out)
        os.lseek(out, 0, os.SEEK_END)
        while done < place.length:
            os.lseek(source, place.offset + done, os.SEEK_SET)
            data = os.read(source, min(BLOCK, place.length - done))
            if not data:
                raise UnreadableModel(f"'{place.path}' became shorter while it was read")
            target.write(data)
            done += len(data)
        target.flush()
    finally:
        os.close(source)
    target.seek(0, os.SEEK_END)


def _in_kernel(source: int, offset: int, length: int, out: int) -> int:
    """Copy without bringing anything into memory; returns how much the system was able to."""
    start = done = 0
    if hasattr(os, "copy_file_range"):
        start = os.lseek(out, 0, os.SEEK_END)
        with suppress(OSError):  # not this pair of file systems
            while done < length:
                count = os.copy_file_range(source, out, min(AT_ONCE, length - done), offset + done, start + done)
                if count == 0:
                    break
                done += count
    if done < length and hasattr(os, "sendfile"):
        with suppress(OSError):
            os.lseek(out, 0, os.SEEK_END)
            while done < length:
                count = os.sendfile(out, source, offset + done, min(AT_ONCE, length - done))
                if count == 0:
                    break
                done += count
    return done
