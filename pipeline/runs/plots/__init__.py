"""The pictures of a run, matplotlib's: matrices, learning curves, sweeps."""
