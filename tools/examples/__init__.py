"""Short scripts that carry a model from its training to the runtimes: export and convert, TensorRT, OpenVINO."""
