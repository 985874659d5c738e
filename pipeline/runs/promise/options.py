"""What may be promised of a head's answers. Nothing heavy is imported here."""

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.system.options import option


@dataclass(frozen=True)
class PromiseOptions:
    """What a head may promise.

    Args:
        promise: share of answers that are to be right, at 95% confidence; None = none is promised
            and every image gets an answer.
        unlike: with a promise, share of its own kind of images that a run may call unlike anything
            seen; 0 = it never does.
        calibrate: divide the head's scores by the temperature with the lowest validation log-loss;
            a promise does so, too.
    """

    promise: float | None = option(
        None,
        help="Answer only where at least this share of answers is right (0.98), at 95% confidence; "
        "else say: unsure.",
        least=0.5,
        below=1,
        default_words="answer always",
    )
    unlike: float = option(
        0.02,
        help="With a promise: share of images of its own kind that may be called unlike anything "
        "seen; 0 = never.",
        least=0,
        below=0.5,
    )
    calibrate: bool = option(
        False, help="Make probabilities as sure as they are right (a promise does so, too)."
    )

    @property
    def needs_temperature(self) -> bool:
        return self.calibrate or self.promise is not None

    def describe_idle(self, asked: Collection[str]) -> list[str]:
        """Names the options that were given and change nothing without a promise."""
        is_idle = self.promise is None and "unlike" in asked
        return ["`unlike` changes nothing without `promise`."] * is_idle
