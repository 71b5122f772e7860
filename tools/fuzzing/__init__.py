"""The parts of ``tools/fuzz.py``: what it makes, how it runs the commands, and who judges what they wrote."""
