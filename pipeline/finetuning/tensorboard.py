"""Scalars for TensorBoard, written with TensorFlow alone: the tensorboard package only reads."""

from pathlib import Path

import tensorflow as tf

from pipeline.system.disk import storage_errors


def log_epoch(folder: Path, record: dict) -> None:
    """Adds an epoch's record to the event files in a folder."""
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    )
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default():
            for name, value in record.items():
                if name != "epoch":
                    tf.summary.write(
                        name, tf.constant(value, tf.float32), record["epoch"], metadata
                    )
        writer.close()
