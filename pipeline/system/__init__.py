"""The machine below: atomic files, locks, sealed HDF5, parallel loops, memory, start-up."""
