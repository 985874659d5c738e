"""The rows that a GPU computes: against a CPU's, and against its own."""

import numpy as np

from benchmarks.gpu_parts.bench import PRECISIONS, Bench
from benchmarks.gpu_reference import make_images


def measure_parity(bench: Bench) -> None:
    """Features against those of a CPU in float32."""
    reference = bench.reference
    pixels = make_images(reference.n_images, reference.image_size)

    def compare(name: str, precision: str) -> dict:
        embed = bench.open(name, precision, reference.n_images)
        expected, found = reference.features[name], embed(pixels)
        dots = (expected * found).sum(1)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        return {
            "network": name,
            "precision": precision,
            "greatest difference": float(np.abs(found - expected).max() / np.abs(expected).max()),
            "least cosine": float((dots / lengths).min()),
            "greatest feature": float(np.abs(expected).max()),
            "engine": str(embed.record),
        }

    print(f"  reference: {reference.engine}, {reference.n_images} images")
    bench.prepare_weights()
    names = bench.arguments.networks
    bench.try_each([(name, way) for way in PRECISIONS for name in names], compare)


def measure_bits(bench: Bench) -> None:
    """Do equal images get equal rows, wherever they are in whichever batch and process?"""
    size = bench.arguments.batch_size
    pixels = bench.images(2 * size)
    order = np.random.RandomState(3).permutation(len(pixels))

    def compare(name: str, precision: str) -> dict:
        embed = bench.open(name, precision, size)
        rows = embed(pixels)
        greatest = np.abs(rows).max()
        part = size // 2 + 1
        found = {
            "again": (embed(pixels), rows),
            "shuffled": (embed(pixels[order]), rows[order]),
            "padded": (embed(pixels[:part]), rows[:part]),
            "alone": (embed(pixels[5:6]), rows[5:6]),
        }
        del embed
        found["another process"] = (bench.open(name, precision, size)(pixels), rows)
        found["half the batch"] = (bench.open(name, precision, size // 2)(pixels), rows)
        return {"network": name, "precision": precision, "batch": size} | {
            what: "equal bits"
            if np.array_equal(one, other)
            else f"{float(np.abs(one - other).max() / greatest):.2g} of the greatest"
            for what, (one, other) in found.items()
        }

    bench.prepare_weights()
    names = [name for name in ("efficientnetb0", "resnet50") if name in bench.arguments.networks]
    bench.try_each([(name, way) for way in PRECISIONS[:2] for name in names], compare)
