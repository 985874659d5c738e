"""Where labels are few: which images to label next, and how many are enough."""
