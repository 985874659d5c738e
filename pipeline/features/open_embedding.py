"""Opens what embeds: who decodes, and the batch size of the rows that are there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.features.embed import Embed, EmbedFiles, EmbedInThreads, MakeEmbedder
from pipeline.features.embed_in_processes import EmbedInProcesses
from pipeline.features.embed_on_devices import EmbedOnDevices
from pipeline.features.embed_with_decoders import EmbedWithDecoders
from pipeline.features.spread.cluster import EmbedOnCluster
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.recipe import EngineRecord
from pipeline.system.parallel import count_cores


@dataclass(frozen=True)
class Workers:
    """Who reads, decodes and embeds.

    Args:
        kind: `threads` of this process do all; `decoders` are processes that decode for the engine
            in this one; `processes` do all, each with a network of its own; `auto` is `decoders`
            where a GPU computes, `threads` where a CPU does.
        number: of decoders or processes, None for as many as cores. That of threads is the
            engine's number of streams.
        scheduler: address of a cluster's, whose workers do all; None = this machine does.
    """

    kind: str = "auto"
    number: int | None = None
    scheduler: str | None = None

    def count(self) -> int:
        """How many decoders or processes."""
        return self.number or count_cores()

    def kind_for(self, record: EngineRecord) -> str:
        """`threads` or `decoders`, for this engine.

        A GPU takes more images than the threads of one process decode, as all of them wait for
        Python's lock in turn. On a CPU the engine computes on the very cores that decode.
        """
        if self.kind == "auto":
            return "decoders" if record.device == "gpu" else "threads"
        return self.kind


@contextmanager
def open_embedding(
    make_embedder: MakeEmbedder,
    engines: list[EngineRecord],
    settings: ReaderSettings,
    batch_size: int | None,
    workers: Workers,
    tell: Callable[[str], None],
) -> Iterator[EmbedFiles]:
    """Opens the embedding; where rows of the same engine are there, with their batch size.

    Args:
        make_embedder: makes an embedder from a batch size.
        engines: those of the rows that are there.
        settings: how images are read.
        batch_size: asked for, None = what suits the device.
        workers: who decodes and embeds.
        tell: called with what people should know.
    """
    with _open(make_embedder, batch_size, settings, workers, tell) as embedding:
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
    with _open(make_embedder, kept, settings, workers, tell) as embedding:
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
    workers: Workers,
    tell: Callable[[str], None],
) -> Iterator[EmbedFiles]:
    if workers.scheduler is not None:
        with EmbedOnCluster(make_embedder, batch_size, settings, workers.scheduler) as on_cluster:
            yield on_cluster
        return
    if workers.kind == "processes":
        with EmbedInProcesses(make_embedder, batch_size, settings, workers.count()) as in_processes:
            yield in_processes
        return
    embed = make_embedder(batch_size)
    if workers.kind_for(embed.record) == "decoders":
        with EmbedWithDecoders(embed, settings, workers.count(), _count_staged(embed)) as embedding:
            yield embedding
            for note in embedding.describe_losses():
                tell(note)
    else:
        with BatchReader(settings, embed.n_streams) as read:
            yield EmbedInThreads(embed, read)


def _count_staged(embed: Embed) -> int:
    """Batches that are computed, or wait to be: a GPU computes one while the next one waits."""
    if isinstance(embed, EmbedOnDevices):
        return embed.n_streams
    return 2 if embed.record.device == "gpu" else embed.n_streams + 1
