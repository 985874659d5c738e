"""Which backbone at which image size: tried on a sample, before a whole data set is paid for."""
