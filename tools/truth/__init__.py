"""How far answers in single and half precision are from the exact ones.

``doubled`` makes a float64 copy of a model, ``operators`` defines what onnx.reference computes otherwise than the
standard says, ``parts`` cuts models, ``measure`` compares.
"""
