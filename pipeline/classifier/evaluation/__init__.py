"""Scoring a run on labelled images: which they are, the scores, and what is left of them."""
