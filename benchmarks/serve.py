"""A service under load, beside `predict` on the same files and a plain service of 30 lines; then
under attack.

Load: so many clients on loopback, each with its connection kept, all in one process more, which
shares the cores with the service. Attack: broken and odd images and bombs among good ones, a client
that sends a byte a second, some that hang up, 200 connections; good ones must still be answered.

    python benchmarks/serve.py PHOTOS --run RUN
    python benchmarks/serve.py PHOTOS --run RUN --short
"""

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.fuzz_images import make_seeds, mutate  # noqa: E402

CLI = [sys.executable, ROOT / "cli.py"]
PACKAGES = ("openvino", "tensorflow", "keras", "fastapi", "uvicorn", "starlette")
N_CLIENTS, N_ODD, N_BOMBS, N_SILENT = 16, 400, 50, 200
SUFFIXES = (".jpg", ".jpeg", ".png")

# What people write who need a service: FastAPI and Keras, and nothing around them.
PLAIN = """
import io, sys
import numpy as np
import uvicorn
from fastapi import FastAPI, File, UploadFile
from PIL import Image
sys.path.insert(0, sys.argv[1])
from pipeline.classifier.build import load_classifier
from pipeline.runs.run_folder import open_run

run = open_run(sys.argv[2])
model = load_classifier(run)
side = run.recipe.image_size
app = FastAPI()


@app.post("/predict")
def predict(file: UploadFile = File()):
    image = Image.open(io.BytesIO(file.file.read())).convert("RGB").resize((side, side))
    pixels = np.asarray(image, np.float32)[None]
    probabilities = model.predict(pixels, verbose=0)[0]
    best = int(probabilities.argmax())
    found = {"name": run.class_names[best], "probability": float(probabilities[best])}
    return [{"path": file.filename, "classes": [found]}]


@app.get("/health")
def health():
    return {"ready": True}


uvicorn.run(app, port=int(sys.argv[3]), log_level="critical")
"""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("--run", required=True, type=Path, help="that classifies them")
    parser.add_argument("--seconds", type=float, help="of load [default: 60; short: 6]")
    parser.add_argument("--load", help=argparse.SUPPRESS)  # this process is the clients
    arguments = parser.parse_args()
    photos = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
    seconds = arguments.seconds or (6 if arguments.short else 60)
    if arguments.load:
        print(json.dumps(put_load(arguments.load, photos, seconds)))
        return
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    load = [sys.executable, __file__, arguments.photos, "--run", arguments.run]
    load += ["--seconds", str(seconds), "--load"]
    results = {
        "throughput": compare(arguments.run, photos, load),
        "attack": attack(arguments.run, photos, is_short=arguments.short),
    }
    write_results(arguments.json, machine, results)


def compare(run: Path, photos: list[Path], load: list) -> list[dict]:
    """Images per second and latencies of both services, and of `predict` before and after."""
    before = time_predict(run, photos)
    with serving(run) as (process, url, first):
        ours = measure(process, url, load)
    between = time_predict(run, photos)
    with plain_service(run) as (process, url, first_plain):
        plain = measure(process, url, load)
    per_second = statistics.mean([before, between])
    rows = [
        {"what": "predict on the files", "images_per_second": per_second},
        {"what": "serve", "first_answer": first, **ours},
        {"what": "FastAPI + model.predict", "first_answer": first_plain, **plain},
    ]
    print(f"{N_CLIENTS} clients in one process that shares the cores; {len(photos):,} photos\n")
    print_table(
        ["", "images/s", "of predict", "p50 ms", "p99 ms", "errors", "first answer s", "RSS MB"],
        [
            [
                row["what"],
                row["images_per_second"],
                row["images_per_second"] / per_second,
                *(row.get(name) for name in ("p50", "p99", "errors", "first_answer", "peak_mb")),
            ]
            for row in rows
        ],
    )
    return rows


def time_predict(run: Path, photos: list[Path]) -> float:
    """Images per second of `predict` on the photos three times over, less what one photo takes."""

    def run_it(images: list[Path]) -> float:
        start = time.perf_counter()
        subprocess.run(
            [*CLI, "predict", run, *images, "--json", "--quiet"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - start

    alone = run_it(photos[:1])
    return (3 * len(photos) - 1) / (run_it(photos * 3) - alone)


@contextmanager
def serving(run: Path, *options: str) -> Iterator[tuple[psutil.Process, str, float]]:
    """A service of ours, and the seconds from its start to its first answer."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [*CLI, "serve", run, "--port", "0", *options], stderr=subprocess.PIPE, text=True
    )
    url = ""
    for line in process.stderr:
        if found := re.search(r" at (http://\S+)$", line):
            url = found[1]
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield from _until_ended(process, url, start)


@contextmanager
def plain_service(run: Path) -> Iterator[tuple[psutil.Process, str, float]]:
    """The 30 lines, likewise."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", PLAIN, ROOT, run, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield from _until_ended(process, f"http://127.0.0.1:{port}", start)


def _until_ended(
    process: subprocess.Popen, url: str, start: float
) -> Iterator[tuple[psutil.Process, str, float]]:
    try:
        stream = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(stream, "JPEG")
        while True:
            with contextlib.suppress(OSError):
                if post(connect(url), "first.jpg", stream.getvalue())[0] == 200:
                    break
            time.sleep(0.02)
            if process.poll() is not None:
                raise RuntimeError(f"The service ended with {process.returncode}")
        yield psutil.Process(process.pid), url, time.perf_counter() - start
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def connect(url: str, seconds: float = 60) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=seconds)


def post(connection: http.client.HTTPConnection, name: str, data: bytes) -> tuple[int, bytes]:
    """Sends a file of a form; status and body of the answer."""
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/predict", body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def measure(process: psutil.Process, url: str, load: list) -> dict:
    """Has the clients ask for a while; the greatest memory meanwhile, with all children."""
    with watching_memory(process) as peak:
        done = subprocess.run([*load, url], capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "peak_mb": peak[0] / 1e6}


@contextmanager
def watching_memory(process: psutil.Process) -> Iterator[list[int]]:
    """The greatest sum so far of what a process and its children hold, in bytes."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            held = 0
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    held += one.memory_info().rss
            peak[0] = max(peak[0], held)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    ended.set()
    thread.join()


def put_load(url: str, photos: list[Path], seconds: float) -> dict:
    """The clients: a second to warm up, then so many seconds that count."""
    files = [(path.name, path.read_bytes()) for path in photos]
    latencies: list[float] = []
    errors: Counter = Counter()
    begin = time.perf_counter() + 1
    end = begin + seconds

    def ask(number: int) -> None:
        connection = connect(url)
        while (start := time.perf_counter()) < end:
            status, body = post(connection, *files[number % len(files)])
            if status != 200 or b'"classes"' not in body:
                errors[status] += 1
            elif begin <= start:
                latencies.append(time.perf_counter() - start)
            number += N_CLIENTS

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    milliseconds = sorted(1000 * latency for latency in latencies)
    return {
        "images_per_second": len(milliseconds) / seconds,
        "p50": milliseconds[len(milliseconds) // 2],
        "p99": milliseconds[int(0.99 * len(milliseconds))],
        "errors": sum(errors.values()),
    }


def make_bombs() -> list[bytes]:
    """Small files of many pixels: within the limit, at it, and far beyond."""
    bombs = []
    for side in (7_000, 13_000, 30_000):
        row = bytes(1 + side // 8)  # one bit a pixel
        packer = zlib.compressobj(9)
        packed = b"".join([packer.compress(row * 64) for _ in range(side // 64)])
        packed += packer.compress(row * (side % 64)) + packer.flush()
        bombs.append(make_png(side, packed))
    stream = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(stream, "JPEG", quality=1)
    bombs.append(stream.getvalue())
    stream = io.BytesIO()
    Image.new("RGB", (9_000, 9_000)).save(stream, "WEBP", quality=1)
    return [*bombs, stream.getvalue()]


def make_png(side: int, packed: bytes) -> bytes:
    """A square PNG of one bit a pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def attack(run: Path, photos: list[Path], *, is_short: bool) -> dict:
    """All at once, and what became of the good ones meanwhile."""
    seeds, bombs = make_seeds(), make_bombs()
    n_odd, n_bombs = (N_ODD // 8, N_BOMBS // 5) if is_short else (N_ODD, N_BOMBS)
    odd = [mutate(seeds, number, 0) for number in range(n_odd)]
    found: dict[str, Counter] = {name: Counter() for name in ("good", "odd", "bombs")}
    latencies: list[float] = []
    with serving(run) as (process, url, _), watching_memory(process) as peak:
        ended = threading.Event()

        def send(kind: str, files: list[bytes]) -> None:
            for number, data in enumerate(files):
                with contextlib.closing(connect(url)) as connection:
                    status, body = post(connection, f"{kind}{number}", data)
                words = "classified" if b'"classes"' in body else "skipped"
                found[kind][words if status == 200 else str(status)] += 1

        def send_good() -> None:
            connection, number = connect(url), 0
            while not ended.is_set():
                path = photos[number % len(photos)]
                start = time.perf_counter()
                status, body = post(connection, path.name, path.read_bytes())
                latencies.append(time.perf_counter() - start)
                is_right = status == 200 and b'"classes"' in body
                found["good"]["classified" if is_right else f"{status} {body[:80]!r}"] += 1
                number += 1

        silent = [_open(url) for _ in range(N_SILENT)]
        slow = threading.Thread(target=lambda: statuses.append(send_a_byte_a_second(url)))
        statuses: list[str] = []
        slow.start()
        good = [threading.Thread(target=send_good) for _ in range(2)]
        bad = [threading.Thread(target=send, args=("odd", odd[i::4])) for i in range(4)]
        each = [bombs[number % len(bombs)] for number in range(n_bombs)]
        bad += [threading.Thread(target=send, args=("bombs", each[i::10])) for i in range(10)]
        for thread in [*good, *bad]:
            thread.start()
        for _ in range(50):
            hang_up(url)
        for thread in [*bad, slow]:
            thread.join()
        ended.set()
        for thread in good:
            thread.join()
        for one in silent:
            one.close()
        threads = process.num_threads()
    milliseconds = sorted(1000 * latency for latency in latencies)
    rows = [[kind, sum(found[kind].values()), json.dumps(found[kind])] for kind in found]
    rows.append(["a byte a second", 1, statuses[0]])
    print_table(["sent", "how many", "what came of it"], rows)
    p99 = milliseconds[int(0.99 * len(milliseconds))]
    print(
        f"Good ones meanwhile: median {statistics.median(milliseconds):.0f} ms, p99 {p99:.0f} ms, "
        f"longest {milliseconds[-1]:.0f} ms.\nMost memory, with children: {peak[0] / 1e6:.0f} MB; "
        f"{threads} threads."
    )
    return {
        "found": found,
        "p99": p99,
        "longest": milliseconds[-1],
        "peak_mb": peak[0] / 1e6,
        "slow": statuses[0],
    }


def _open(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def send_a_byte_a_second(url: str) -> str:
    """The first line of the answer, and after how long it came."""
    start = time.perf_counter()
    with _open(url) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        client.settimeout(1)
        while True:
            try:
                client.sendall(b"x")
                answer = client.recv(1000)
            except TimeoutError:
                continue
            except OSError as error:
                return f"{error} after {time.perf_counter() - start:.0f} s"
            line = answer.split(b"\r\n")[0].decode()
            return f"{line} after {time.perf_counter() - start:.0f} s"


def hang_up(url: str) -> None:
    with _open(url) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        client.sendall(os.urandom(50_000))


if __name__ == "__main__":
    main()
