"""Where images come from: folders, CSV lists, archives, TensorFlow Datasets."""
