"""The model that training runs: a frozen trunk in inference mode below a top that learns."""

import keras

from pipeline.backbones.frost_lines import split_at


class TrunkAndTop(keras.Model):
    """The classifier with its frozen trunk in inference mode, whatever the top is in.

    Shares all layers with the classifier.

    Args:
        from_line: begin at the frost line, with what the trunk cache holds.
    """

    def __init__(self, classifier: keras.Model, line: str, *, from_line: bool = False):
        super().__init__(name="trunk_and_top")
        self.preprocessing = classifier.get_layer("preprocessing")
        self.head = classifier.get_layer("head")
        backbone = classifier.get_layer("backbone")
        self.trunk, self.top = (None, backbone) if line == "all" else split_at(backbone, line)
        self.from_line = from_line

    def call(self, inputs, training=False):
        x = inputs
        if not self.from_line:
            x = self.preprocessing(x)
            if self.trunk is not None:
                x = self.trunk(x, training=False)
        return self.head(self.top(x, training=training), training=training)
