"""What is wrong with whole classes."""
