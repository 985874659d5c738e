"""What goes with exported models: labels, thresholds, a card, references to check them by."""
