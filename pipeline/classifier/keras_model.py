"""A run's model as a plain Keras model, to be compiled, trained and saved by Keras's own means."""

from pipeline.backbones.keras_settings import keras_settings
from pipeline.classifier.build import load_classifier
from pipeline.classifier.export.contents import PROBABILITIES
from pipeline.classifier.export.whole_network import build_whole_network
from pipeline.runs.run_folder import Run
from pipeline.system.keras_on_tensorflow import keras


@keras_settings()
def build_keras_model(run: Run, weights: str | None = None) -> keras.Model:
    """From RGB 0..255 `(n, height, width, 3)` to probabilities; all but the head is frozen.

    Args:
        weights: where the backbone's weights lie now, None for where they came from.

    Raises:
        HeadError, ExportError: the head is none that Keras has layers for.
        RunError, WeightsError: the model cannot be rebuilt.
    """
    if len(run.manifest.backbones) == 1:
        model = load_classifier(run, weights, "float32")
    else:
        whole = build_whole_network(run, weights).model
        model = keras.Model(whole.input, whole.output[PROBABILITIES], name="classifier")
    for layer in model.layers:
        layer.trainable = layer is model.layers[-1]
    return model
