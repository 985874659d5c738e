"""How far something is: what long work calls while it goes on."""

from collections.abc import Callable

# Called with a stage, the number done and the number to do.
OnProgress = Callable[[str, int, int], None]
