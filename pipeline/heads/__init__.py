"""Heads: what maps features to class scores."""
