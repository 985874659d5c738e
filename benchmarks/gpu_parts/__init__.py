"""The parts of `gpu.py`: what each measures."""
