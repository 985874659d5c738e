"""Backbone and head as one: build it, prove it, predict with it."""
