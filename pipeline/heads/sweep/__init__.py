"""Many settings of heads on the same features: which is best, and how much that flatters it."""
