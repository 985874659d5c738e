"""What the frozen trunk makes of each image, kept on disk so that epochs skip it."""
