"""The parts of `gpu.py`: what each measures."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from benchmarks.common import print_table
from benchmarks.extract import SIZES, make_photos
from benchmarks.gpu_reference import (
    Reference,
    describe_network,
    make_images,
    read_reference,
)
from pipeline.backbones.engines.opening import find_device

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
FEEDERS = 4  # threads that hand batches to the engine
SECONDS_A_RATE = 1.5
BACKBONE = "efficientnetb0"  # of the parts that use one


class Bench:
    """What all parts of one run share.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder: Path = arguments.folder
        self.reference: Reference = read_reference(arguments.reference)
        self.rows: list[dict] = []
        self.facts: dict = {}

    def open(self, name: str, precision: str, batch_size: int):
        """A network ready to embed, through the library."""
        from pipeline.features.embed import make_embedder

        recipe, weights = describe_network(self.reference, name, self.folder, precision)
        arguments = self.arguments
        return make_embedder(recipe, weights, arguments.device, arguments.engine, batch_size)

    def prepare_weights(self) -> None:
        """Writes the weights' files before several threads want them."""
        for name in self.arguments.networks:
            describe_network(self.reference, name, self.folder, "float32")

    def images(self, n_images: int, seed: int = 2) -> np.ndarray:
        return make_images(n_images, self.reference.image_size, seed)

    def photos(self) -> Path:
        """A folder of JPEG photos, made when it is first asked for."""
        folder = self.folder / "photos"
        if not folder.exists():
            make_photos(self.folder / "photos-begun", SIZES["500 x 375"], self.arguments.photos)
            (self.folder / "photos-begun").rename(folder)
        return folder

    def extraction(self, precision: str) -> dict:
        """Options of `extract` for the photos."""
        _, weights = describe_network(self.reference, BACKBONE, self.folder, precision)
        return {
            "backbone": BACKBONE,
            "weights": weights.source,
            "image_size": self.reference.image_size,
            "precision": precision,
            "batch_size": self.arguments.batch_size,
            "engine": self.arguments.engine,
            "device": self.arguments.device,
            "reuse": False,
        }

    def try_each(self, cases: list[tuple], task: Callable[..., dict]) -> None:
        """Rows of a table: several cases at once, and one that fails says so in its row."""
        pool = ThreadPoolExecutor(self.arguments.openings)
        begun = {pool.submit(task, *case): case for case in cases}
        for future in as_completed(begun):
            try:
                row = future.result()
            except Exception as error:
                traceback.print_exc()
                row = {"case": " ".join(map(str, begun[future])), "failed": describe(error)}
            self.rows.append(row)
            print(
                "  " + ", ".join(f"{key}: {_text(value)}" for key, value in row.items()), flush=True
            )
            self.save()
        pool.shutdown()

    def save(self, **more: object) -> None:
        path = self.folder / f"{self.arguments.part}.json"
        path.write_text(json.dumps(self.facts | {"rows": self.rows} | more))


def measure_part(part: str, arguments) -> int:
    """Runs one part; what it found lies in the folder. Returns an exit code."""
    bench = Bench(arguments)
    try:
        find_device(arguments.device, arguments.engine)  # before several threads ask
        MEASURES[part](bench)
        bench.save()
    except Exception as error:
        traceback.print_exc()
        bench.save(failed=describe(error))
        return 1
    return int(any("failed" in row for row in bench.rows))


def describe(error: BaseException) -> str:
    """The last line of what a traceback would say."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0][:600]


def measure_card(bench: Bench) -> None:
    """What the machine has, as the library sees it."""
    device = find_device(bench.arguments.device, bench.arguments.engine)
    bench.facts["device"] = vars(device)
    wanted = "name,driver_version,memory.total,memory.used,compute_cap"
    bench.facts["nvidia-smi"] = ask_card(wanted)
    print(f"  {device}\n  {wanted}: {bench.facts['nvidia-smi']}")


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


def measure_rates(bench: Bench) -> None:
    """Images/s from pixels in memory, through the engine, with threads that feed it."""
    alone = threading.Lock()

    def measure(name: str, precision: str, batch_size: int) -> dict:
        started = time.perf_counter()
        embed = bench.open(name, precision, batch_size)
        opened = time.perf_counter() - started
        pixels = bench.images(32).repeat(-(-batch_size // 32), 0)[:batch_size]
        with alone:
            rate = time_rate(embed, pixels)
        return {
            "network": name,
            "precision": precision,
            "batch": batch_size,
            "taken": embed.batch_size,
            "images/s": rate,
            "seconds to open": opened,
        }

    bench.prepare_weights()
    names = [name for name in ("efficientnetb0", "resnet50") if name in bench.arguments.networks]
    sizes = bench.arguments.batch_sizes
    cases = [(n, way, size) for size in sizes for n in names for way in PRECISIONS[:2]]
    bench.try_each(cases, measure)


def time_rate(embed, pixels: np.ndarray) -> float:
    """Images/s of whole batches from several threads, after one to warm up."""
    from pipeline.system.parallel import map_batches

    started = time.perf_counter()
    embed(pixels)
    once = time.perf_counter() - started
    n_calls = max(2 * FEEDERS, int(SECONDS_A_RATE / once))
    started = time.perf_counter()
    for _ in map_batches(embed, [pixels] * n_calls, FEEDERS):
        continue
    return n_calls * len(pixels) / (time.perf_counter() - started)


def measure_device(bench: Bench) -> None:
    """Images/s of the device alone, from its own memory, with and without trials of kernels.

    At one batch size: a trial takes 10 to 20 seconds for each.
    """
    from pipeline.backbones.engines.recipe_network import describe_network as network_of
    from pipeline.system.child_process import HelperProcess

    if bench.arguments.engine != "jax":
        print("  only for the JAX engine")
        return
    alone = threading.Lock()
    size = bench.arguments.batch_size

    def measure(precision: str, kernels: str) -> dict:
        recipe, weights = describe_network(bench.reference, BACKBONE, bench.folder, precision)
        build = network_of(recipe, weights).build
        is_deterministic = kernels == "deterministic"
        row = {"network": BACKBONE, "precision": precision, "kernels": kernels}
        # Trials of kernels and the measurements of others would disturb each other.
        with HelperProcess() as helper, alone if not is_deterministic else contextlib.nullcontext():
            kind = "cpu" if bench.arguments.device == "cpu" else "gpu"
            helper.call(Alone.build, build, kind, is_deterministic)
            seconds = helper.call(Alone.compile, size, precision)
            with contextlib.nullcontext() if not is_deterministic else alone:
                rate = helper.call(Alone.measure, SECONDS_A_RATE)
        return row | {"batch": size, "images/s": rate, "seconds to compile": seconds}

    ways = ("deterministic", "the fastest of a trial")
    bench.try_each([(p, way) for way in ways for p in ("mixed_bfloat16", "float32")], measure)


class Alone:
    """A network in a process with JAX; it stays there from call to call."""

    _model = _run = _pixels = _device = None

    @classmethod
    def build(cls, build, kind: str, is_deterministic: bool) -> None:
        from pipeline.backbones.engines.jax_process import build_network

        cls._model, cls._device = build_network(build, kind, 0, is_deterministic=is_deterministic)

    @classmethod
    def compile(cls, batch_size: int, precision: str) -> float:
        import jax

        from pipeline.backbones.engines.jax_process import compile_network

        started = time.perf_counter()
        cls._run = compile_network(cls._model, batch_size, precision, cls._device)
        seconds = time.perf_counter() - started
        pixels = make_images(batch_size, cls._model.input_shape[1], 2)
        cls._pixels = jax.device_put(pixels, cls._device)
        return seconds

    @classmethod
    def measure(cls, seconds: float) -> float:
        started = time.perf_counter()
        cls._run(cls._pixels).block_until_ready()
        n_calls = max(3, int(seconds / (time.perf_counter() - started)))
        started = time.perf_counter()
        rows = [cls._run(cls._pixels) for _ in range(n_calls)]
        rows[-1].block_until_ready()
        return n_calls * len(cls._pixels) / (time.perf_counter() - started)


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


@contextlib.contextmanager
def watch_card() -> Iterator[list[int]]:
    """Percents of time in which the card computed, four times a second; empty without NVIDIA's."""
    seen: list[int] = []
    if shutil.which("nvidia-smi") is None:
        yield seen
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*command, "-lms", "250"], stdout=subprocess.PIPE, text=True) as watcher:

        def read() -> None:
            for line in watcher.stdout or ():
                with contextlib.suppress(ValueError):
                    seen.append(int(line.strip()))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            watcher.kill()
            reader.join()


def ask_card(what: str, query: str = "gpu") -> str:
    """What nvidia-smi says, or why it does not."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-{query}={what}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return describe(error)
    return (done.stdout or done.stderr).strip()


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


def measure_memory(bench: Bench) -> None:
    """Texts of memory errors, and what the engine makes of them."""
    from pipeline.backbones.engines.device import tells_of_memory
    from pipeline.errors import DeviceError
    from pipeline.system.child_process import HelperProcess

    if bench.arguments.engine != "jax":
        print("  only for the JAX engine")
        return
    kind = "cpu" if bench.arguments.device == "cpu" else "gpu"
    with HelperProcess() as helper:
        text = helper.call(provoke_memory_error, kind)
    bench.facts["text"] = text[:1000]
    bench.facts["known for one"] = tells_of_memory(text)
    print(f"  {bench.facts}", flush=True)
    if kind == "cpu":
        return  # the system would end processes, not JAX
    # Of the card's memory: a batch of 1,024 has maps of 4.9 GB, four times as many do not fit.
    for share in ("0.1", "0.02"):
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = share
        try:
            embed = bench.open(BACKBONE, "float32", 1024)
            embed(bench.images(embed.batch_size))
            row = {"of the memory": share, "batch": embed.batch_size, "said": embed.notes}
        except DeviceError as error:
            row = {"of the memory": share, "batch": None, "said": str(error)}
        bench.rows.append(row)
        bench.save()
        print(f"  {row}", flush=True)


def provoke_memory_error(kind: str) -> str:
    """What JAX says of a petabyte."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    with jax.default_device(jax.devices(kind)[0]):
        try:
            jax.numpy.zeros(10**15, "uint8").block_until_ready()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "there was no error"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


MEASURES: dict[str, Callable[[Bench], None]] = {
    "card": measure_card,
    "parity": measure_parity,
    "bits": measure_bits,
    "extract": measure_extract,
    "kill": measure_kill,
    "memory": measure_memory,
    "rates": measure_rates,
    "device": measure_device,
}
