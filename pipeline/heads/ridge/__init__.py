"""Ridge regression on one-hot targets, and the score each row gets from a fit without it."""
