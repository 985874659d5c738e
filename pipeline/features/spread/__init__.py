"""Stage one over several machines: shards and their merging, and workers of a cluster."""
