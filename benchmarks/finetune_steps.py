"""Steps of fine-tuning on a CPU, as plain Keras computes them and as `folded.py` does, in turns.

From the rows of a trunk cache, 224 pixels, 32 images; random weights and random rows. Plain Keras
computes in float32, `folded.py` in float32 and in bfloat16.

    python benchmarks/finetune_steps.py efficientnet-lite0:block4a resnet50:conv4_block4 --rounds 5
"""

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)

PACKAGES = ("tensorflow", "keras", "numpy")
PLACES = (
    *("efficientnet-lite0:block4a", "efficientnet-lite0:block6a", "efficientnetb0:block4a"),
    *("mobilenetv2:block_6", "mobilenetv3large:expanded_conv_6", "resnet50:conv4_block4"),
)
N_CLASSES = 5
BATCH_SIZE = 32
PLAIN, FOLDED, IN_16_BITS = "plain", "folded", "bfloat16"
WAYS = (PLAIN, FOLDED, IN_16_BITS)


def build_network(backbone: str, line: str, way: str):
    """The network as `finetune` trains it on a CPU, or as plain Keras."""
    from pipeline.backbones.build import build_embedding_model
    from pipeline.backbones.networks.tuned import set_precision
    from pipeline.classifier.build import build_classifier
    from pipeline.features.extract import make_recipe
    from pipeline.finetuning.network import Network
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.finetuning.replicas import Replicas
    from pipeline.finetuning.thawed import thaw_classifier
    from pipeline.heads.linear import LinearHead

    embedding = build_embedding_model(*make_recipe(backbone, "random", image_size=224))
    rng = np.random.default_rng(0)
    kernel = 0.01 * rng.standard_normal((embedding.output_shape[1], N_CLASSES), np.float32)
    names = tuple("abcde")
    head = LinearHead(kernel, np.zeros(N_CLASSES, np.float32), names)
    classifier = build_classifier(embedding, head, list(names))
    thaw_classifier(classifier, line)
    if way == IN_16_BITS:
        set_precision(classifier.get_layer("backbone"), "mixed_bfloat16")
    options = FinetuneOptions(unfreeze=line, batch_size=BATCH_SIZE)
    replicas = Replicas(None, is_one_cpu=way != PLAIN)
    return Network(classifier, line, options, begins_at=line, replicas=replicas)


def time_steps(backbone: str, line: str, n_rounds: int) -> dict:
    networks = {way: build_network(backbone, line, way) for way in WAYS}
    rng = np.random.default_rng(1)
    x = rng.standard_normal((BATCH_SIZE, *networks[PLAIN].model.top.input_shape[1:]), np.float32)
    y = np.eye(N_CLASSES, dtype=np.float32)[rng.integers(N_CLASSES, size=BATCH_SIZE)]
    weights = np.ones(BATCH_SIZE, np.float32)
    first: dict[str, float] = {}
    for name, network in networks.items():
        started = time.perf_counter()
        network.step(x, y, weights, 1e-5)
        first[name] = time.perf_counter() - started
        network.predict(x)
    steps: dict[str, list[float]] = {name: [] for name in networks}
    predictions: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(n_rounds):
        for name, network in networks.items():
            started = time.perf_counter()
            network.step(x, y, weights, 1e-5)
            steps[name].append(time.perf_counter() - started)
            started = time.perf_counter()
            network.predict(x)
            predictions[name].append(time.perf_counter() - started)
    return {
        "place": f"{backbone}:{line}",
        "first step": first,
        "steps": steps,
        "predictions": predictions,
        "images/s": {name: BATCH_SIZE / statistics.median(steps[name]) for name in steps},
        "times": {way: _median_ratio(steps, way) for way in WAYS[1:]},
        "times in prediction": {way: _median_ratio(predictions, way) for way in WAYS[1:]},
    }


def _median_ratio(seconds: dict[str, list[float]], way: str) -> float:
    """How many times as fast as plain Keras."""
    pairs = zip(seconds[PLAIN], seconds[way], strict=True)
    return statistics.median(plain / other for plain, other in pairs)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("places", nargs="*", help="BACKBONE:LINE [default: six]")
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 2]")
    arguments = parser.parse_args()
    places = arguments.places or (PLACES[:1] if arguments.short else PLACES)
    n_rounds = arguments.rounds or (2 if arguments.short else 5)
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    results = [time_steps(*place.split(":"), n_rounds) for place in places]
    heads = [*(f"{way}, images/s" for way in WAYS), *(f"{way}, times" for way in WAYS[1:])]
    heads += [f"{way}, in prediction" for way in WAYS[1:]]
    print_table(
        ["thawed from", *heads, "first steps, s"],
        [
            [
                one["place"],
                *(round(one["images/s"][way], 1) for way in WAYS),
                *(round(one["times"][way], 2) for way in WAYS[1:]),
                *(round(one["times in prediction"][way], 2) for way in WAYS[1:]),
                ", ".join(f"{one['first step'][way]:.1f}" for way in WAYS),
            ]
            for one in results
        ],
    )
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
