"""Heads on cached features against the same head with the frozen backbone in the loop.

`cli.py fit-head` with each head as a whole process, start of Python (and of TensorFlow for the
dense head) included, on synthetic features of 14,000 images of 6 classes. The peer is what one
does without a cache: the same dense head on a frozen EfficientNetB0 in `model.fit`, which computes
all features again in each epoch. It is timed on a part of an epoch and scaled to 10 epochs.

    python benchmarks/heads.py                     # about 5 minutes
    python benchmarks/heads.py --short
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    Usage,
    alternate,
    describe_machine,
    make_parser,
    median_usage,
    print_machine,
    print_table,
    run_process,
    write_results,
)

N_CLASSES = 6
EPOCHS = 10
HEADS = ("logreg", "dense")


def time_backbone_in_the_loop(n_images: int) -> float:
    """Images/s of an epoch of `model.fit` with a frozen backbone; run in a process of its own."""
    import keras
    import numpy as np

    backbone = keras.applications.EfficientNetB0(weights=None, include_top=False, pooling="avg")
    backbone.trainable = False
    layers = keras.layers
    pixels = layers.Input((224, 224, 3))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(backbone(pixels, training=False)))
    model = keras.Model(pixels, layers.Dense(N_CLASSES, activation="softmax")(x))
    model.compile(keras.optimizers.AdamW(3e-4), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n_images, 224, 224, 3), np.uint8)
    labels = random.integers(0, N_CLASSES, n_images)
    model.fit(images[:64], labels[:64], batch_size=64, verbose=0)  # traces the graph
    start = time.perf_counter()
    model.fit(images, labels, batch_size=64, verbose=0)
    return n_images / (time.perf_counter() - start)


def fit_head(folder: Path, head: str) -> Usage:
    command = [sys.executable, "cli.py", "fit-head", folder / "features.h5", "--head", head]
    return run_process([*command, "--output", folder / head, "--force", "--quiet"])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, help="images  [default: 14,000; short: 2,000]")
    parser.add_argument("--repeat", type=int, help="processes of each  [default: 5; short: 1]")
    parser.add_argument("--part", type=int, help="images in the loop  [default: 256; short: 64]")
    parser.add_argument("--loop", type=int, metavar="N", help="only time N images in the loop")
    arguments = parser.parse_args()
    if arguments.loop:
        print(json.dumps(time_backbone_in_the_loop(arguments.loop)))
        return
    n_rows = arguments.rows or (2000 if arguments.short else 14_000)
    n_times = arguments.repeat or (1 if arguments.short else 5)
    n_part = arguments.part or (64 if arguments.short else 256)
    machine = describe_machine()
    print_machine(machine)

    rates: list[float] = []

    def loop() -> Usage:
        output = folder / "rate.json"
        script = f"{sys.executable} benchmarks/heads.py --loop {n_part} > {output}"
        usage = run_process(["sh", "-c", script])
        rates.append(float(json.loads(output.read_text().splitlines()[-1])))
        return usage

    with tempfile.TemporaryDirectory(prefix="frostline-heads-") as name:
        folder = Path(name)
        write = "benchmarks.synthetic_features"
        run_process(
            [
                *(sys.executable, "-c"),
                f"from pathlib import Path; from {write} import write_synthetic_features as w; "
                f"w(Path({str(folder / 'features.h5')!r}), {n_rows}, n_classes={N_CLASSES})",
            ]
        )
        tasks = {head: (lambda head=head: fit_head(folder, head)) for head in HEADS}
        usages = alternate({**tasks, "loop": loop}, n_times)
        manifests = {
            head: json.loads((folder / head / "manifest.json").read_text()) for head in HEADS
        }
    rate = statistics.median(rates)
    in_the_loop = EPOCHS * n_rows / rate
    rows, results = [], {}
    for head in HEADS:
        taken, manifest = median_usage(usages[head]), manifests[head]
        accuracy = manifest["metrics"]["val"]["accuracy"]
        ratio = in_the_loop / taken["seconds"]
        results[head] = {**taken, "val_accuracy": accuracy, "in_the_loop_over_this": ratio}
        peak = taken["peak_bytes"] / 1e9
        rows.append([head, taken["seconds"], taken["cpu_seconds"], peak, accuracy, ratio])
    rows.append(["backbone in the loop", in_the_loop, None, None, None, 1.0])
    results["backbone in the loop"] = {
        "seconds": in_the_loop,
        "images_per_second": rate,
        "images_timed": n_part,
        "epochs": EPOCHS,
        "rates": rates,
    }
    print(f"{n_rows:,} x 1,280 features, {N_CLASSES} classes; medians of {n_times}")
    print_table(["", "seconds", "CPU seconds", "peak GB", "val accuracy", "times faster"], rows)
    print(
        f"Backbone in the loop: {n_part} of {n_rows:,} images were timed, {rate:.1f} images/s, and "
        f"scaled to {EPOCHS} epochs. The start of TensorFlow is not counted there, but in dense."
    )
    write_results(arguments.json, machine, {"rows": n_rows, "runs": results})


if __name__ == "__main__":
    main()
