"""`predict` and `evaluate` of a run whose features the device made: right, and how fast?"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import print_table
from benchmarks.extract import SIZES, make_photos
from benchmarks.gpu_parts.bench import BACKBONE, ROOT, Bench
from benchmarks.gpu_reference import describe_network

PRECISION = "float32"
N_FITTED = 1024  # photos
NEW_SEEDS = range(1000, 1128)  # photos that were in no data set before


def measure_predict(bench: Bench) -> None:
    """A head on features of the device; then one photo and many, as processes and loaded once."""
    run = fit_run(bench)
    new = bench.folder / "new"
    make_photos(new, SIZES["500 x 375"], bench.arguments.predict, NEW_SEEDS)
    photos = sorted(new.rglob("*.jpg"))
    expected = predict_on_cpu(bench, run, photos[: len(NEW_SEEDS)])
    cache = {"JAX_COMPILATION_CACHE_DIR": str(bench.folder / "compiled")}
    for what, images, settings in (
        ("one photo, a run's first use", photos[:1], {}),
        ("one photo", photos[:1], {}),
        (f"{len(photos)} photos", [new], {}),
        ("one photo, JAX fills its cache of compiled code", photos[:1], cache),
        ("one photo, JAX has a cache of compiled code", photos[:1], cache),
    ):
        bench.rows.append({"process": what, **run_predict(bench, run, images, settings, expected)})
        bench.save()
    print_table(list(bench.rows[0]), [row.values() for row in bench.rows])
    use_loaded(bench, run, new, photos, expected)


def fit_run(bench: Bench) -> Path:
    """A run with a logistic head on features that the device makes now."""
    import frostline

    features = frostline.extract(
        bench.photos(), output=bench.folder / "fitted.h5", limit=N_FITTED,
        jobs=max(bench.arguments.decoders), **bench.extraction(PRECISION),
    )  # fmt: skip
    started = time.perf_counter()
    fitted = frostline.fit_head(features, output=bench.folder / "run")
    accuracy, seconds = fitted.metrics["val"].accuracy, time.perf_counter() - started
    print(f"  a head was fitted in {seconds:.1f} s: validation accuracy {accuracy:.4f}")
    return fitted.folder


def predict_on_cpu(bench: Bench, run: Path, photos: list[Path]) -> dict[str, np.ndarray]:
    """By name of a photo, what the run's head says of features that JAX makes on the CPU."""
    from pipeline.features.embed import make_embedder
    from pipeline.heads.saved_head import load_head
    from pipeline.images.decoding.read_images import read_images
    from pipeline.runs.run_folder import open_run

    recipe, weights = describe_network(bench.reference, BACKBONE, bench.folder, PRECISION)
    embed = make_embedder(recipe, weights, "cpu", "jax", 8)
    pixels = np.stack([decoded for _, decoded in read_images(photos, recipe)])
    probabilities = load_head(open_run(run)).predict_proba(embed(pixels))
    bench.facts["least certain"] = float(probabilities.max(1).min())
    bench.facts["classes said"] = np.bincount(probabilities.argmax(1)).tolist()
    return {photo.name: row for photo, row in zip(photos, probabilities, strict=True)}


def run_predict(
    bench: Bench, run: Path, images: list[Path], settings: dict[str, str], expected: dict
) -> dict:
    """`cli.py predict` as a process: seconds, and how far its probabilities are from a CPU's."""
    how = ["--engine", bench.arguments.engine, "--device", bench.arguments.device]
    words = ["predict", str(run), *map(str, images), *how, "--json", "--top", "2"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *words], cwd=bench.folder,
        capture_output=True, text=True, env={**os.environ, **settings}, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"predict ended with {done.returncode}: {done.stderr[-1000:]}")
    found = {}
    for entry in json.loads(done.stdout):
        by_class = {said["name"]: said["probability"] for said in entry["classes"]}
        found[Path(entry["path"]).name] = np.array([by_class[name] for name in sorted(by_class)])
    return {"seconds": seconds, "photos": len(found), **compare(found, expected)}


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict:
    """Of the photos that the CPU was asked for."""
    both = [name for name in expected if name in found]
    ours, theirs = (np.stack([side[name] for name in both]) for side in (found, expected))
    return {
        "compared": len(both),
        "greatest difference of probabilities": float(np.abs(ours - theirs).max()),
        "other classes": int((ours.argmax(1) != theirs.argmax(1)).sum()),
    }


def use_loaded(bench: Bench, run: Path, new: Path, photos: list[Path], expected: dict) -> None:
    """The model loaded once: seconds of one photo, images/s of many, and `evaluate`."""
    import frostline

    started = time.perf_counter()
    model = frostline.load(
        run, device=bench.arguments.device, engine=bench.arguments.engine, n_images=len(photos)
    )
    facts = {"seconds to load": time.perf_counter() - started}
    model.predict(photos)
    started = time.perf_counter()
    predictions = model.predict(photos)
    facts["images/s, loaded"] = len(photos) / (time.perf_counter() - started)
    found = {p.path.name: p.probabilities for p in predictions}
    facts |= compare(found, expected)
    seconds = []
    for photo in photos[:20]:
        started = time.perf_counter()
        model.predict([photo])
        seconds.append(time.perf_counter() - started)
    facts["seconds of one photo, median of 20"] = float(np.median(seconds))
    started = time.perf_counter()
    evaluation = frostline.evaluate(model, new)
    facts["evaluate, images/s"] = len(photos) / (time.perf_counter() - started)
    is_right = [p.label == p.path.parent.name for p in predictions]
    facts["accuracy by evaluate, and counted"] = [
        evaluation.metrics.accuracy,
        float(np.mean(is_right)),
    ]
    facts["notes"] = model.notes
    bench.facts |= facts
    print(f"  {facts}", flush=True)
