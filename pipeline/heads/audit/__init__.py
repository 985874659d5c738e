"""What is wrong with the data, from features and scores of heads that never saw the image."""
