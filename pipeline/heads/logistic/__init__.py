"""The logistic head: multinomial regression along a path of strengths, folded into one layer."""
