"""Opens what embeds, in threads or in processes, with the batch size of the rows that are there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.features.embed import EmbedFiles, EmbedInThreads, MakeEmbedder
from pipeline.features.embed_in_processes import EmbedInProcesses
from pipeline.features.spread.cluster import EmbedOnCluster
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.recipe import EngineRecord


@contextmanager
def open_embedding(
    make_embedder: MakeEmbedder,
    engines: list[EngineRecord],
    settings: ReaderSettings,
    batch_size: int | None,
    n_processes: int,
    tell: Callable[[str], None],
    scheduler: str | None = None,
) -> Iterator[EmbedFiles]:
    """Opens the embedding; where rows of the same engine are there, with their batch size.

    Args:
        make_embedder: makes an embedder from a batch size.
        engines: those of the rows that are there.
        settings: how images are read.
        batch_size: asked for, None = what suits the device.
        n_processes: 0 = in threads of this process.
        tell: called with what people should know.
        scheduler: of a cluster that embeds; None for this machine.
    """
    with _open(make_embedder, batch_size, settings, n_processes, scheduler) as embedding:
        kept = find_batch_size(engines, embedding.record)
        if kept in (None, embedding.batch_size):
            for note in embedding.notes:
                tell(note)
            if engines and kept is None and embedding.batch_size != engines[-1].batch_size:
                tell(
                    f"The batch size is {embedding.batch_size}; the rows that are there were "
                    f"computed with {engines[-1].batch_size}, by another engine."
                )
            yield embedding
            return
    del embedding  # before another takes its memory
    if batch_size is not None:
        tell(f"The batch size stays {kept}, as for the rows that are there already.")
    with _open(make_embedder, kept, settings, n_processes, scheduler) as embedding:
        for note in embedding.notes:
            tell(note)
        yield embedding


def find_batch_size(engines: list[EngineRecord], at_hand: EngineRecord) -> int | None:
    """The batch size of rows that the same engine computed, or an unknown one; None without such.

    Networks may differ between batch sizes in the last bits.
    """
    alike = [engine for engine in engines if engine.computes_like(at_hand)]
    unknown = [engine for engine in engines if not engine.is_known]
    return next((engine.batch_size or None for engine in alike + unknown), None)


@contextmanager
def _open(
    make_embedder: MakeEmbedder,
    batch_size: int | None,
    settings: ReaderSettings,
    n_processes: int,
    scheduler: str | None,
) -> Iterator[EmbedFiles]:
    if scheduler is not None:
        with EmbedOnCluster(make_embedder, batch_size, settings, scheduler) as embedding:
            yield embedding
    elif n_processes:
        with EmbedInProcesses(make_embedder, batch_size, settings, n_processes) as in_processes:
            yield in_processes
    else:
        embed = make_embedder(batch_size)
        with BatchReader(settings, embed.n_streams) as read:
            yield EmbedInThreads(embed, read)
