"""Heads made of scikit-learn's estimators: those that are linear are kept as one layer."""
