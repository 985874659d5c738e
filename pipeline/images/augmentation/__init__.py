"""Augmentation: other versions of an image, drawn from (seed, epoch or view, image)."""
