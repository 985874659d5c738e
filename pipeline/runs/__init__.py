"""A run's folder: its manifest, its records, its scores."""
