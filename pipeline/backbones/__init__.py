"""Pretrained networks: the table of them, building them, their weights, frost lines."""
