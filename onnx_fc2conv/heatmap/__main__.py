"""``python -m onnx_fc2conv.heatmap``."""

import sys

from .command import main

sys.exit(main())
