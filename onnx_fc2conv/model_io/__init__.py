"""Models on disk. The only room that knows where a tensor's bytes are, and the only one that writes.

Reading trusts nothing: every name must be defined once, every tensor as long as its dims say, every external data
file inside the model's folder. Writing is all or nothing: everything goes to a private folder beside the target, is
flushed to the disk there, and is renamed last.
"""

from .metadata import metadata
from .reading import load, parse
from .splicing import whole
from .staging import staged
from .writing import Target, write_bytes, write_text

__all__ = ["Target", "load", "metadata", "parse", "staged", "whole", "write_bytes", "write_text"]
