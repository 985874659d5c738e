"""Keras's settings as Frostline needs them, whatever ~/.keras/keras.json says for other work.

To be imported by each module that makes the first network of a process.
"""

import keras

keras.config.set_floatx("float32")
keras.config.set_image_data_format("channels_last")
keras.config.set_epsilon(1e-7)
