"""What goes with an export as it is, and is read by no other module when it is there."""
