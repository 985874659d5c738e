"""TensorFlow's SavedModel: for TensorFlow Serving, and for converters."""

import tempfile
from pathlib import Path

import tensorflow as tf

from pipeline.classifier.export.formats.format import Settings
from pipeline.classifier.export.whole_network import WholeNetwork


def write_saved_model(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes the folder: signature `serving_default` from `image` to the outputs by name, and the
    metadata as assets. Weights are constants of the graph, so that converters find no variables:
    LiteRT's gave NaN where it met some. Gradients are left out: nobody trains it, and those that
    Keras gives swish capture tensors that TensorFlow then refuses to save.
    """
    module = tf.Module()
    module.serve = network.make_signature().get_concrete_function()
    with tempfile.TemporaryDirectory() as folder:
        assets = []
        for key, value in settings.metadata.items():
            asset = Path(folder, key)
            asset.write_text(value, "utf-8")
            assets.append(tf.saved_model.Asset(str(asset)))
        module.assets = assets
        tf.saved_model.save(
            module,
            str(path),
            signatures={"serving_default": module.serve},
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
    return []
