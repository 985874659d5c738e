"""Searching settings of fine-tuning for a stated budget, by successive halving."""
