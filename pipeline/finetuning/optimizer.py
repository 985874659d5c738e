"""AdamW whose rate and weight decay shrink from block to block, and the rate over time."""

import math

import keras
import tensorflow as tf

from pipeline.backbones.frost_lines import find_frost_lines, split_at
from pipeline.finetuning.options import FinetuneOptions

CLIP_NORM = 1.0
FINAL_SHARE = 0.01


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW with a factor per variable on its rate, and so on its weight decay, too.

    Keras applies the decay outside `update_step`, so both need the factor. The gradients are
    clipped by their global norm after they were summed over all devices: Keras clips before.

    Args:
        factors: by variable path; 1 for those that are not in it.
    """

    def __init__(self, factors: dict[str, float], **settings):
        super().__init__(**settings)
        self._factor_of_path = factors
        self._factor_of_key: dict = {}

    def build(self, variables):
        super().build(variables)
        self._factor_of_key = {
            self._var_key(variable): self._factor_of_path.get(variable.path, 1.0)
            for variable in variables
        }

    def _factor(self, variable) -> float:
        return self._factor_of_key[self._var_key(variable)]

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * self._factor(variable))

    def _apply_weight_decay(self, variables):
        def decay_all(distribution, variables):
            def decay(variable):
                if self._use_weight_decay(variable):
                    rate = tf.cast(self.learning_rate, variable.dtype) * self._factor(variable)
                    variable.assign_sub(variable * self.weight_decay * rate)

            for variable in variables:
                distribution.extended.update(variable.value, decay, group=False)

        tf.__internal__.distribute.interim.maybe_merge_call(
            decay_all, self._distribution_strategy, variables
        )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        variables = [variable.value for variable in trainable_variables]
        pairs = self._all_reduce_sum_gradients(list(zip(grads, variables, strict=True)))
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], CLIP_NORM)
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._distributed_tf_update_step,
            self._distribution_strategy,
            list(zip(clipped, variables, strict=True)),
            learning_rate,
        )


def make_optimizer(options: FinetuneOptions, factors: dict[str, float]) -> LayerwiseAdamW:
    """The optimizer of fine-tuning; its rate is set before each step."""
    averaged = options.average_weights > 0
    optimizer = LayerwiseAdamW(
        factors,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        use_ema=averaged,
        ema_momentum=options.average_weights if averaged else 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def decay_factors(backbone: keras.Model, line: str, layer_decay: float) -> dict[str, float]:
    """By variable path: 1 for the head, `layer_decay` for the top block, its square below, ...

    Args:
        line: of the lowest block that is trained, or `all`.
    """
    if layer_decay == 1:
        return {}
    factors: dict[str, float] = {}
    depth = 0
    for depth, found in enumerate(find_frost_lines(backbone), start=1):
        for layer in split_at(backbone, found.name)[1].layers:
            for variable in layer.trainable_variables:
                factors.setdefault(variable.path, layer_decay**depth)
        if found.name == line:
            return factors
    for variable in backbone.trainable_variables:
        factors.setdefault(variable.path, layer_decay ** (depth + 1))
    return factors


def learning_rate_at(step: int, n_steps: int, greatest: float, warmup: float) -> float:
    """A linear warm-up and a cosine down to a hundredth.

    Args:
        step: 0..`n_steps` - 1.
        warmup: share of the steps.
    """
    n_warmup = max(1, round(warmup * n_steps))
    if step < n_warmup:
        return greatest * (step + 1) / n_warmup
    progress = (step - n_warmup + 1) / max(1, n_steps - n_warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return greatest * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
