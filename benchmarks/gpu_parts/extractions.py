"""Whole extractions: how fast, and what is left of one that was killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import print_table
from benchmarks.gpu_parts.bench import BACKBONE, Bench
from benchmarks.gpu_parts.card import ask_card, watch_card
from benchmarks.gpu_parts.rates import time_rate

ROOT = Path(__file__).resolve().parents[2]


def measure_extract(bench: Bench) -> None:
    """Whole extractions of JPEG photos, and how busy the device is meanwhile."""
    import frostline

    started = time.perf_counter()
    photos = bench.photos()
    print(f"  {bench.arguments.photos} photos made in {time.perf_counter() - started:.0f} s")
    precision = "mixed_bfloat16"
    embed = bench.open(BACKBONE, precision, bench.arguments.batch_size)
    most = time_rate(embed, bench.images(embed.batch_size))
    del embed
    print(f"  from memory at batch {bench.arguments.batch_size}: {most:,.0f} images/s", flush=True)
    bench.facts["images/s from memory"] = most
    for n_decoders in bench.arguments.decoders:
        target = bench.folder / f"decoders-{n_decoders}.h5"
        started = time.perf_counter()
        with watch_card() as seen:
            found = frostline.extract(
                photos, output=target, jobs=n_decoders, **bench.extraction(precision)
            )
        summary = found.summary
        rate = summary.computed / summary.compute_seconds
        row = {
            "decoders": n_decoders,
            "photos": summary.computed,
            "seconds": time.perf_counter() - started,
            "of them computing": summary.compute_seconds,
            "images/s": rate,
            "busy, of images/s from memory": rate / most,
            "busy, as the card says": float(np.mean(seen)) / 100 if seen else None,
            "busy, at most": max(seen, default=0) / 100 if seen else None,
        }
        bench.rows.append(row)
        bench.save()
    print_table(list(bench.rows[0]), [row.values() for row in bench.rows])


def measure_kill(bench: Bench) -> None:
    """kill -9 in the middle of an extraction, and the same command again."""
    import frostline

    photos, target = bench.photos(), bench.folder / "killed.h5"
    options = bench.extraction("mixed_bfloat16")
    command = [sys.executable, str(ROOT / "cli.py"), "extract", str(photos), "--no-reuse"]
    for name, value in options.items():
        if name != "reuse":
            command += [f"--{name.replace('_', '-')}", str(value)]
    command += ["--output", str(target), "--jobs", str(bench.arguments.decoders[0])]
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
    whole = bench.folder / f"decoders-{bench.arguments.decoders[0]}.h5"
    if not whole.exists():
        frostline.extract(photos, output=whole, jobs=bench.arguments.decoders[0], **options)
    found, expected = frostline.features(target).arrays().X, frostline.features(whole).arrays().X
    bench.facts["rows"] = len(found)
    bench.facts["rows that differ"] = int((found != expected).any(1).sum())
    print(f"  rows that differ: {bench.facts['rows that differ']} of {len(found)}")
    if bench.facts["ended by"] != -signal.SIGKILL or done.returncode != 0:
        raise RuntimeError(f"not killed in time, or the second run failed: {done.returncode}")
