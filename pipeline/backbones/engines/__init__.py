"""What runs a frozen network."""
