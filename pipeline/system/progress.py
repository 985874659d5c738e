"""How far something is: what long work calls while it goes on."""

from collections.abc import Callable

# Called with a stage, the number done and the number to do: 0 as long as nobody knows.
OnProgress = Callable[[str, int, int], None]
