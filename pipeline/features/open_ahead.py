"""A network that is opened while what it is to embed is still being found out."""

import threading
from concurrent.futures import Future

from pipeline.features.embed import Embed, MakeEmbedder


class OpenedAhead:
    """Makes embedders, the first one in a thread of its own as soon as it is foreseen.

    Args:
        make: what makes them; where it fails, whoever calls this hears of it.
        batch_size: of the one that is foreseen, None for what suits the device.
    """

    def __init__(self, make: MakeEmbedder, batch_size: int | None) -> None:
        self._make = make
        self._batch_size = batch_size
        self._ahead: Future[Embed] | None = None

    def begin(self) -> None:
        """Starts to open it; nobody waits."""
        opened: Future[Embed] = Future()

        def open_it() -> None:
            try:
                opened.set_result(self._make(self._batch_size))
            except BaseException as error:
                opened.set_exception(error)

        self._ahead = opened
        threading.Thread(target=open_it, name="frostline-open-ahead").start()

    def __call__(self, batch_size: int | None) -> Embed:
        ahead, self._ahead = self._ahead, None  # it is given away once
        if ahead is None or batch_size != self._batch_size:
            return self._make(batch_size)
        return ahead.result()
