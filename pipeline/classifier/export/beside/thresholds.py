"""`thresholds.json`: when a run with a promise gives no answer, for programs elsewhere."""

from typing import Any

from pipeline.classifier.export.contents import DISTANCE, PROBABILITIES
from pipeline.runs.promise.guard import UNLIKE, UNSURE
from pipeline.runs.promise.record import PromisePart

FILE_NAME = "thresholds.json"


def describe_thresholds(promise: PromisePart) -> dict[str, Any]:
    """What the file says, ready for JSON."""
    return {
        "format": "frostline-thresholds",
        "version": 1,
        "least_confidence": promise.least_confidence,
        "greatest_distance": promise.greatest_distance,
        "answers": {"unsure": UNSURE, "unlike": UNLIKE},
        "how": list_rules(promise),
        "promise": {
            "share_right": promise.share,
            "confidence": promise.confidence,
            "shown_on": promise.n_images,
            "answered": promise.n_answered,
            "right": promise.n_right,
            "lower_bound": promise.bound,
            "words": " ".join(promise.describe().split("\n")),
        },
    }


def list_rules(promise: PromisePart) -> list[str]:
    """How to apply it, a sentence each, in this order."""
    far = (
        f"If `{DISTANCE}` is greater than {promise.greatest_distance!r}, the answer is "
        f"`{UNLIKE}`, whatever the probabilities."
    )
    sure = (
        f"If the greatest of `{PROBABILITIES}` is below {promise.least_confidence!r}, the answer "
        f"is `{UNSURE}`; otherwise it is the class of the greatest."
    )
    if promise.least_confidence == 0:
        sure = f"Otherwise it is the class of the greatest of `{PROBABILITIES}`, however small."
    return [sure] if promise.greatest_distance is None else [far, sure]
