"""An upload on its way to an answer, and why a request can be refused."""

import queue
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.classifier.model import Classifier
from pipeline.classifier.prediction import Prediction
from pipeline.classifier.serving.decoder import Form
from pipeline.recipe import Recipe


@dataclass(frozen=True)
class Upload:
    """What somebody sent as an image.

    Args:
        name: of its file, as it was sent; None where none was.
        data: the file's bytes.
    """

    name: Path | None
    data: bytes


class RefusedError(Exception):
    """A request that gets no answer; the message is for whoever sent it.

    Args:
        status: of HTTP.
        retry_seconds: when to try again; None where that would change nothing.
    """

    def __init__(self, status: int, message: str, retry_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_seconds = retry_seconds


@dataclass(eq=False)
class Job:
    """An upload that is being classified.

    Args:
        upload: what is to be classified.
        model: by which; a run that is replaced meanwhile changes nothing.
        recipes: in what forms the model wants it.
        answer: what becomes of it; cancelled where nobody waits any more.
        forms: of the upload, once it is decoded.
        is_counted: whether it is known to be decoded, or to need it no more.
    """

    upload: Upload
    model: Classifier
    recipes: list[Recipe]
    answer: "Future[Prediction]" = field(default_factory=Future)
    forms: list[Form] = field(default_factory=list)
    is_counted: bool = False


# None sends whoever takes jobs from it home.
Jobs = queue.SimpleQueue[Job | None]
