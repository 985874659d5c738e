"""The rules by which splits can be made. Nothing heavy is imported here: the command line reads it.

`exact_rule.py` gives every class its shares to one image; `chance_rule.py` is that of 0.1.0.
"""

EXACT, CHANCE = "exact", "chance"
RULES = (EXACT, CHANCE)
