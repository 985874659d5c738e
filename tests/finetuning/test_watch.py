"""TensorBoard's event files lie where they were asked for, whatever the folder is called."""

import os

import tensorflow as tf

from pipeline.finetuning.watch import log_epoch


def read_values(folder):
    """The scalars of all event files of a folder, as (step, name, value)."""
    found = []
    for file in sorted(folder.iterdir()):
        path = os.fsencode(file)
        for record in tf.data.TFRecordDataset([path]):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [
                (event.step, v.tag, float(tf.make_ndarray(v.tensor))) for v in event.summary.value
            ]
    return found


def test_a_folder_that_is_no_utf8_gets_its_own_records(tmp_path):
    folders = [tmp_path / "d\udce9ta", tmp_path / "$x$\n[red]"]
    for epoch in (1, 2):
        for folder in folders:
            log_epoch(folder, {"epoch": epoch, "train_loss": 0.5 * epoch})
    for folder in folders:
        assert read_values(folder) == [(1, "train_loss", 0.5), (2, "train_loss", 1.0)]
