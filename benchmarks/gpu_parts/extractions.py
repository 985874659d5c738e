"""Whole extractions: how fast, and what is left of one that was killed."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks.common import print_table
from benchmarks.gpu_parts.bench import BACKBONE, Bench
from benchmarks.gpu_parts.card import SECONDS_A_LOOK, ask_card, watch_card
from benchmarks.gpu_parts.pace import Pace, children_seconds
from benchmarks.gpu_parts.rates import time_rate
from benchmarks.gpu_reference import describe_network


def measure_extract(bench: Bench) -> None:
    """Whole extractions of JPEG photos, and how busy the device is meanwhile.

    Beside a network that is far faster than the cores decode one that is not, in float32; and what
    decoder processes give when nobody takes the pixels.
    """
    started = time.perf_counter()
    photos = bench.photos()
    print(f"  {bench.arguments.photos} photos made in {time.perf_counter() - started:.0f} s")
    for n_decoders in bench.arguments.decoders:
        rate = rate_of_decoders(sorted(photos.rglob("*.jpg")), n_decoders, bench)
        bench.facts[f"images/s, {n_decoders} decoders alone"] = rate
        print(f"  {n_decoders} decoders alone: {rate:,.0f} images/s", flush=True)
    cases = [(BACKBONE, "mixed_bfloat16", n) for n in bench.arguments.decoders]
    if "resnet50" in bench.arguments.networks:
        cases.append(("resnet50", "float32", max(bench.arguments.decoders)))
    most: dict[str, float] = {}
    for name, precision, n_decoders in cases:
        if name not in most:
            embed = bench.open(name, precision, bench.arguments.batch_size)
            most[name] = time_rate(embed, bench.images(embed.batch_size))
            del embed
            bench.facts[f"images/s from memory, {name}"] = most[name]
            print(f"  {name} {precision} from memory: {most[name]:,.0f} images/s", flush=True)
        bench.rows.append(extract_once(bench, name, precision, n_decoders, most[name]))
        bench.save()
    print_table(list(bench.rows[0]), [row.values() for row in bench.rows])


def extract_once(bench: Bench, name: str, precision: str, n_decoders: int, most: float) -> dict:
    """One extraction; `most` are the images/s of the network from memory."""
    import frostline

    pace, before = Pace(), children_seconds()
    started = time.perf_counter()
    with watch_card() as seen:
        summary = frostline.extract(
            bench.photos(), output=target_of(bench, name, n_decoders), jobs=n_decoders,
            on_progress=pace, **bench.extraction(precision, name),
        ).summary  # fmt: skip
    seconds = time.perf_counter() - started
    found = pace.describe()
    return {
        "network": f"{name} {precision}",
        "decoders": n_decoders,
        "photos": summary.computed,
        "seconds": seconds,
        "of them computing": summary.compute_seconds,
        "images/s computing": summary.computed / summary.compute_seconds,
        **found,
        "children, processor seconds": children_seconds() - before,
        "images/s from memory": most,
        "share of that": found.get("images/s under way", 0.0) / most,
        "busy, as the card says": float(np.mean(seen)) / 100 if seen else None,
        "busy, while it computes": float(np.mean(busiest(seen, summary))) / 100 if seen else None,
    }


def busiest(seen: list[int], summary) -> list[int]:
    """The last of the figures, those of the time in which rows were computed."""
    n_figures = max(1, round(summary.compute_seconds / SECONDS_A_LOOK))
    return seen[-n_figures:]


def target_of(bench: Bench, name: str, n_decoders: int) -> Path:
    """The feature file of one of these extractions."""
    return bench.folder / f"{name}-{n_decoders}.h5"


def rate_of_decoders(paths: list[Path], n_decoders: int, bench: Bench) -> float:
    """Images/s of reading, hashing and decoding in processes, whose pixels nobody takes."""
    from pipeline.images.decoder_processes.pool import DecoderProcesses
    from pipeline.images.decoding.read_batches import ReaderSettings
    from pipeline.images.decoding.read_images import DEFAULT_LIMITS
    from pipeline.system.parallel import map_batches

    recipe, _ = describe_network(bench.reference, BACKBONE, bench.folder, "float32")
    settings = ReaderSettings(recipe, DEFAULT_LIMITS, bench.folder / "notes")
    size = bench.arguments.batch_size
    some = paths[: max(4 * size, len(paths) // 3)]
    batches = [some[start : start + size] for start in range(0, len(some), size)]
    with DecoderProcesses(settings, n_decoders, 2, size) as decoders:

        def decode(batch: list[Path]) -> int:
            with decoders.decode(batch) as decoded:
                return len(decoded.pixels)

        for _ in map_batches(decode, batches[:2], decoders.n_slots):
            continue  # the processes have started
        started = time.perf_counter()
        n_images = sum(map_batches(decode, batches, decoders.n_slots))
        return n_images / (time.perf_counter() - started)


def measure_kill(bench: Bench) -> None:
    """kill -9 in the middle of an extraction, and the same command again."""
    import frostline

    photos, target = bench.photos(), bench.folder / "killed.h5"
    precision, n_decoders = "mixed_bfloat16", bench.arguments.decoders[0]
    command = bench.command(target, precision, n_decoders)
    before = ask_card("pid", "compute-apps").split()
    process = subprocess.Popen(command, cwd=bench.folder)
    from pipeline.features.finished_rows import parts_folder_of

    parts = parts_folder_of(target)
    while process.poll() is None and not list(parts.glob("[!.]*.h5")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    bench.facts["ended by"] = process.wait()
    time.sleep(3)
    left = set(ask_card("pid", "compute-apps").split()) - set(before)
    bench.facts["parts left by the kill"] = len(list(parts.glob("[!.]*.h5")))
    bench.facts["processes left on the card"] = len(left)
    done = subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, check=False)
    bench.facts["second run"] = [line for line in done.stderr.splitlines() if "inished" in line]
    print(f"  {bench.facts}\n{done.stderr[-1500:]}", flush=True)
    whole = target_of(bench, BACKBONE, n_decoders)
    if not whole.exists():
        frostline.extract(photos, output=whole, jobs=n_decoders, **bench.extraction(precision))
    found, expected = frostline.features(target).arrays().X, frostline.features(whole).arrays().X
    bench.facts["rows"] = len(found)
    bench.facts["rows that differ"] = int((found != expected).any(1).sum())
    print(f"  rows that differ: {bench.facts['rows that differ']} of {len(found)}")
    if bench.facts["ended by"] != -signal.SIGKILL or done.returncode != 0:
        raise RuntimeError(f"not killed in time, or the second run failed: {done.returncode}")
