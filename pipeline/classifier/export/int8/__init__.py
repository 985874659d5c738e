"""An exported model in 8 bits: calibrated on training images, and what that costs."""
