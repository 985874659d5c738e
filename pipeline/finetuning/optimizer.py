"""AdamW whose rate and weight decay shrink from block to block, clipped over all blocks."""

import tensorflow as tf

from pipeline.backbones.frost_lines import find_layers_by_line
from pipeline.finetuning.options import FinetuneOptions
from pipeline.system.keras_on_tensorflow import keras

CLIP_NORM = 1.0


class ClippedAdamW(keras.optimizers.AdamW):
    """AdamW that clips the gradients by their common norm, over all devices.

    Keras's `global_clipnorm` clips each device's share before the shares are summed, so that the
    result would depend on the number of devices.
    """

    def apply(
        self,
        grads: list[tf.Tensor],
        trainable_variables: list[keras.Variable] | None = None,
    ) -> None:
        super().apply(_clip_together(grads), trainable_variables)


class LayerwiseAdamW(keras.optimizers.MultiOptimizer):
    """An AdamW for each factor on the rate, and so on the weight decay; clipped together.

    The factor has to be on the rate: AdamW divides a factor on the gradients out again.

    Args:
        factors: by variable path; 1 for those that are not in it.
        settings: of each AdamW.
    """

    def __init__(self, factors: dict[str, float], **settings: float):
        by_factor = {
            factor: _make_adamw(keras.optimizers.AdamW, **settings)
            for factor in sorted({1.0, *factors.values()}, reverse=True)
        }
        super().__init__(lambda variable: by_factor[factors.get(variable.path, 1.0)])
        self._by_factor = by_factor

    @property
    def learning_rate(self) -> keras.Variable:
        """The rate of what has the factor 1."""
        return self._by_factor[1.0].learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for factor, optimizer in self._by_factor.items():
            optimizer.learning_rate = rate * factor

    def apply(
        self,
        grads: list[tf.Tensor],
        trainable_variables: list[keras.Variable] | None = None,
    ) -> None:
        super().apply(_clip_together(grads), trainable_variables)


def make_optimizer(
    options: FinetuneOptions, factors: dict[str, float]
) -> ClippedAdamW | LayerwiseAdamW:
    """The optimizer of fine-tuning; its rate is set before each step.

    Args:
        factors: on the rate, by variable path; from `decay_factors`.
    """
    momentum = options.average_weights or 0.0
    settings = {
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "use_ema": momentum > 0,
        "ema_momentum": momentum,
    }
    if factors:
        return LayerwiseAdamW(factors, **settings)
    return _make_adamw(ClippedAdamW, **settings)


def decay_factors(backbone: keras.Model, line: str, layer_decay: float) -> dict[str, float]:
    """By variable path: 1 for the head, `layer_decay` for the top block, its square below, ...

    Args:
        line: of the lowest block that is trained, or `all`.
    """
    if layer_decay == 1:
        return {}
    factors: dict[str, float] = {}
    depth = 0
    for depth, (name, layers) in enumerate(find_layers_by_line(backbone).items(), start=1):
        for layer in layers:
            for variable in layer.trainable_variables:
                factors.setdefault(variable.path, layer_decay**depth)
        if name == line:
            return factors
    for variable in backbone.trainable_variables:
        factors.setdefault(variable.path, layer_decay ** (depth + 1))
    return factors


def _make_adamw(kind: type[keras.optimizers.AdamW], **settings: float) -> keras.optimizers.AdamW:
    optimizer = kind(**settings)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _clip_together(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """This device's equal share of the gradients summed over all devices and clipped.

    Keras sums what the devices hand in once more.
    """
    context = tf.distribute.get_replica_context()
    n_devices = context.num_replicas_in_sync
    if n_devices > 1:
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    clipped, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
    return [gradient / n_devices for gradient in clipped] if n_devices > 1 else clipped
