"""From an image file to upright RGB pixels of one size, or to the reason why not."""
