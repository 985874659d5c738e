"""A run's model for elsewhere: files that other runtimes read, each proven in its own."""
