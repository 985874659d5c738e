"""Processes that read, hash, check and decode images into memory that they share with this one."""
