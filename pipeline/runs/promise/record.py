"""What a run's manifest says of its promise."""

from dataclasses import dataclass

from pipeline.runs.promise.bounds import CONFIDENCE


@dataclass(frozen=True)
class PromisePart:
    """The promise of a run, and what shows that it is kept.

    Args:
        share: of the answers that is right at least, 0..1.
        least_confidence: probability from which on an image is answered; 0 = any.
        greatest_distance: from the training features up to which an image is answered, cosine,
            0..2; None = any.
        unlike: share of images of its own kind that were to be called unlike anything seen.
        n_images: test images that show it: one of each that is there more than once or of each
            group, none of which trained or chose anything.
        n_answered: of these.
        n_right: of these answers.
        bound: share of right answers that is exceeded, at this confidence.
        n_tested: values of `least_confidence` that were tried on them, in an order fixed before.
        confidence: of the promise, 0..1.
        guard_sha256: of `guard.npz`, hex, which holds what decides.
    """

    share: float
    least_confidence: float
    greatest_distance: float | None
    unlike: float
    n_images: int
    n_answered: int
    n_right: int
    bound: float
    n_tested: int
    confidence: float = CONFIDENCE
    guard_sha256: str = ""

    def describe(self) -> str:
        """The promise in words, in lines."""
        sure = (
            f"where its probability is {self.least_confidence:.4f} or more"
            if self.least_confidence
            else "whatever its probability"
        )
        near = (
            ""
            if self.greatest_distance is None
            else f"\nand no farther than {self.greatest_distance:.3f} from what trained it"
        )
        return (
            f"Promise: at least {self.share:.4g} of its answers are right, at "
            f"{self.confidence:.0%} confidence.\n"
            f"An image is answered {sure}{near}.\n"
            f"Shown on {self.n_images:,} test images: {self.n_answered:,} answered, "
            f"{self.n_right:,} of them right."
        )
