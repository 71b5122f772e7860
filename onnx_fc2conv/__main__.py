"""``python -m onnx_fc2conv``."""

import sys

from .cli import main

sys.exit(main())
