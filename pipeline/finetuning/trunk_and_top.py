"""A classifier cut at a frost line: a frozen trunk below a top that learns."""

import tensorflow as tf

from pipeline.backbones.frost_lines import cut_between, split_at
from pipeline.finetuning.folded import fold
from pipeline.system.keras_on_tensorflow import keras


class TrunkAndTop(keras.Model):
    """The classifier with its frozen trunk in inference mode, whatever the top is in.

    Shares all layers with the classifier.

    Args:
        line: the frost line, or `all`.
        begins_at: the line at which inputs come in, this one or one below it, with what the trunk
            cache holds; None = inputs are pixels.
        is_folded: compute as a CPU does fastest, see `folded.py`.
    """

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        *,
        begins_at: str | None = None,
        is_folded: bool = False,
    ):
        super().__init__(name="trunk_and_top")
        self.preprocessing = classifier.get_layer("preprocessing")
        self.head = classifier.get_layer("head")
        self.takes_pixels = begins_at is None
        self.trunk, self.top = _cut(classifier.get_layer("backbone"), line, begins_at)
        first = classifier if self.takes_pixels else self.trunk or self.top
        self.shape_of_inputs: tuple[int | None, ...] = first.input_shape[1:]
        # Methods, since Keras would count the weights of models that are attributes twice.
        run = (lambda part: fold(part).__call__) if is_folded else (lambda part: part.__call__)
        self._run_trunk = None if self.trunk is None else run(self.trunk)
        self._run_top = run(self.top)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.preprocessing(inputs) if self.takes_pixels else inputs
        if self._run_trunk is not None:
            x = self._run_trunk(x, training=False)
        return self.head(self._run_top(x, training=training), training=training)


def _cut(
    backbone: keras.Model, line: str, begins_at: str | None
) -> tuple[keras.Model | None, keras.Model]:
    """What is frozen between the inputs and the line, None where that is nothing; and the top."""
    if line == "all":
        return None, backbone
    trunk, top = split_at(backbone, line)
    if begins_at is None:
        return trunk, top
    return None if begins_at == line else cut_between(backbone, begins_at, line), top
