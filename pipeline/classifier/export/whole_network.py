"""A run's model as one network: RGB 0..255 in, probabilities out, everything between inside."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines.tensorflow_graph import freeze
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.classifier.build import load_finetuned_parts
from pipeline.classifier.export.contents import DISTANCE, PROBABILITIES
from pipeline.errors import ExportError, HeadError
from pipeline.heads.head import Head
from pipeline.heads.saved_head import load_head
from pipeline.runs.promise.distance import N_NEAREST, Surroundings
from pipeline.runs.promise.guard import load_guard
from pipeline.runs.run_folder import Run
from pipeline.system.keras_on_tensorflow import keras


class WholeNetwork:
    """A run's backbone, head, calibration and, where it says so, distance, as one Keras model.

    Args:
        run: that it is the model of.
        model: from float32 RGB 0..255 `(n, height, width, 3)` to a dictionary of outputs, in
            float32 throughout.
    """

    def __init__(self, run: Run, model: keras.Model):
        self.run = run
        self.model = model

    @property
    def class_names(self) -> list[str]:
        """In the order of the probabilities."""
        return self.run.class_names

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that goes in."""
        return int(self.model.input_shape[1])

    @property
    def output_names(self) -> list[str]:
        """`probabilities`, and `distance` where the run says `unlike anything seen`."""
        return list(self.model.output)

    @cached_property
    def function(self) -> Any:
        """A TensorFlow function `serve(image)` of uint8 `(n, height, width, 3)`, any n, to the
        dictionary of outputs.
        """
        size = self.image_size
        signature = tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")

        def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
            with keras_settings():
                outputs = self.model(tf.cast(image, tf.float32), training=False)
            return {name: tf.identity(value, name=name) for name, value in outputs.items()}

        return tf.function(serve, input_signature=[signature])

    @cached_property
    def frozen(self) -> Any:
        """The function with its variables as constants: `.graph.as_graph_def()`, `.inputs`,
        `.outputs` (in the order of `sorted(output_names)`).
        """
        return freeze(self.function)

    def make_signature(self) -> Any:
        """A TensorFlow function that gives what `function` gives, without a variable or anything
        else from outside: for signatures of what is saved, and for converters.
        """
        frozen = self.frozen  # here: inside the function below no variable can be read
        names = sorted(self.output_names)

        def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
            return dict(zip(names, frozen(image), strict=True))

        image = tf.TensorSpec((None, self.image_size, self.image_size, 3), tf.uint8, name="image")
        return tf.function(serve, input_signature=[image])


@keras_settings()
def build_whole_network(run: Run, weights: str | None = None) -> WholeNetwork:
    """Builds it.

    Args:
        weights: where the backbone's weights lie now, None for where they came from.

    Raises:
        ExportError: the head is none that Keras has layers for.
        RunError, WeightsError: the model cannot be rebuilt.
    """
    embeddings, head = _load_halves(run, weights)
    shape = embeddings[0].input_shape[1:]
    pixels = keras.Input(shape, name="image")
    if len(embeddings) > 1:  # all are called alike, and a model has no two layers of one name
        embeddings = [
            keras.Model(one.input, one.output, name=f"{one.name}_{place}")
            for place, one in enumerate(embeddings, start=1)
        ]
    rows = [embedding(pixels) for embedding in embeddings]
    features = rows[0] if len(rows) == 1 else keras.layers.Concatenate(name="joined")(rows)
    outputs = {PROBABILITIES: _to_layers(run, head)(features)}
    guard = load_guard(run)
    if guard is not None and guard.surroundings is not None:
        outputs[DISTANCE] = _measure_distance(features, guard.surroundings)
    return WholeNetwork(run, keras.Model(pixels, outputs, name="classifier"))


def _load_halves(run: Run, weights: str | None) -> tuple[list[keras.Model], Head]:
    if run.manifest.is_finetuned:
        embedding, head = load_finetuned_parts(run)
        return [embedding], head
    embeddings = []
    for used in run.manifest.backbones:
        recipe = replace(used.recipe, precision="float32")
        found = resolve_recorded_weights(recipe, weights or used.weights_source)
        embeddings.append(build_embedding_model(recipe, found))
    return embeddings, load_head(run)


def _to_layers(run: Run, head: Head) -> Any:
    try:
        return head.to_keras()
    except HeadError as error:
        raise ExportError(
            f"This run's head cannot be exported: Keras has no layers for it. Expected a linear or "
            f"a dense head. Received: {run.kind}, in {run.folder}\n"
            "Fit one with `head='logreg'`, and export that run."
        ) from error


def _measure_distance(features: Any, surroundings: Surroundings) -> Any:
    """What `Surroundings.measure` computes, in layers."""
    references = surroundings.references.astype(np.float32)
    n_nearest = min(N_NEAREST, len(references))
    cosines = keras.layers.Dense(
        len(references),
        use_bias=False,
        kernel_initializer=keras.initializers.Zeros(),
        trainable=False,
        name="cosines",
    )
    found = cosines(keras.layers.UnitNormalization(name="length_1")(features))
    cosines.set_weights([references.T])
    nearest, _ = keras.ops.top_k(found, n_nearest)
    return 1.0 - keras.ops.mean(nearest, axis=-1)
