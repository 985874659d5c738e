"""Frostline: transfer learning for image classification with cached embeddings."""

import os

# Whatever else Keras is used for on this machine, by this variable or ~/.keras/keras.json.
os.environ["KERAS_BACKEND"] = "tensorflow"
