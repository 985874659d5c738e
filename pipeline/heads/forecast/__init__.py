"""How good a head would be with more training images: measured with fewer, and carried on."""
