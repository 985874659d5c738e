"""Runs where teams keep theirs: MLflow."""
