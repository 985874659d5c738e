"""From `weights` to arrays in a network: files, downloads, PyTorch checkpoints."""
