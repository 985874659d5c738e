"""The dense head: a small Keras network on standardised features, trained and kept."""
