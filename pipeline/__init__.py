"""Frostline: transfer learning for image classification with cached embeddings."""
