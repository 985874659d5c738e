"""The commands of `cli.py`, one module each: parse, call one function, print."""
