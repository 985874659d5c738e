"""Who wants to know how fine-tuning goes, and when; TensorBoard is one of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.system.disk import require_folder_can_be, storage_errors
from pipeline.system.printable import printable


@dataclass(frozen=True)
class Watch:
    """Functions to be called, each in the thread that trains.

    Args:
        on_progress: with a stage, the number done and the number to do.
        on_epoch: with the record of an epoch, as in `history.csv`.
        on_note: with a sentence that people should know.
        events: folder of TensorBoard's event files, None for none.
    """

    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None
    on_note: Callable[[str], None] = lambda note: None
    events: Path | None = None

    def with_tensorboard(self, folder: Path) -> "Watch":
        """The same, and each epoch's record goes to event files in a folder, too.

        Raises:
            StorageError: there can be no such folder.
        """
        require_folder_can_be(folder, "tensorboard")
        return replace(self, events=folder)

    def tell_epoch(self, record: dict[str, float]) -> None:
        """Tells of an epoch whoever wants to know.

        Raises:
            StorageError: TensorBoard's files cannot be written.
        """
        self.on_epoch(record)
        if self.events is not None:
            log_epoch(self.events, record)


NOBODY = Watch()


def log_epoch(folder: Path, record: dict[str, float]) -> None:
    """Adds an epoch's record to TensorBoard's event files in a folder.

    TensorFlow alone writes them; the tensorboard package only reads.

    Raises:
        StorageError: they cannot be written.
    """
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    )
    with storage_errors(folder, "tensorboard"):
        folder.mkdir(parents=True, exist_ok=True)
        # As bytes: TensorFlow takes no text that is not UTF-8.
        name = f"logdir:{printable(str(folder))}"
        writer = tf.summary.create_file_writer(os.fsencode(folder), name=name)
        with writer.as_default():
            for name, value in record.items():
                if name != "epoch":
                    tf.summary.write(
                        name, tf.constant(value, tf.float32), record["epoch"], metadata
                    )
        writer.close()
