"""What people see in a terminal: results on stdout, talk and progress on stderr."""

import csv
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.dataset import SPLITS

_PLAIN_LINE_SECONDS = 10.0
_BAR_WIDTH = 24


class Terminal:
    """Prints for people and scripts; with `quiet`, only results."""

    def __init__(self, *, quiet: bool = False):
        self._quiet = quiet
        width = None if sys.stdout.isatty() else 100
        self._out = Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())
        self._talk = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)

    def say(self, text: str) -> None:
        """Talk: one line on stderr."""
        self._talk.print(escape(text))

    def result(self, text: str) -> None:
        """A result: one line on stdout, as it is."""
        sys.stdout.write(text + "\n")

    def result_json(self, value) -> None:
        self.result(json.dumps(value, indent=2, ensure_ascii=False))

    @contextmanager
    def quiet_start(self) -> Iterator[None]:
        """Keeps TensorFlow's start-up talk, which C++ writes to stderr, off the screen."""
        sys.stderr.flush()
        saved = os.dup(2)
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                os.close(saved)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """Gives a function of (stage, done, total) that draws a bar, or a line now and then."""
        if self._quiet:
            yield lambda stage, done, total: None
        elif self._talk.is_terminal:
            yield from self._progress_bar()
        else:
            yield self._progress_lines()

    def _progress_bar(self) -> Iterator[Callable[[str, int, int], None]]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._talk) as bar:
            tasks: dict[str, tuple] = {}

            def update(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = (bar.add_task(stage, total=total, rate=""), time.monotonic())
                task, started = tasks[stage]
                rate = f"{done / max(1e-9, time.monotonic() - started):,.0f}/s"
                bar.update(task, completed=done, total=total, rate=rate)

            yield update

    def _progress_lines(self) -> Callable[[str, int, int], None]:
        started: dict[str, float] = {}
        last = 0.0

        def update(stage: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            start = started.setdefault(stage, now)
            if now - max(last, start) >= _PLAIN_LINE_SECONDS and done:
                last = now
                rate = done / (now - start)
                self.say(
                    f"{stage}: {done:,} of {total:,}, {rate:,.0f}/s, "
                    f"{(total - done) / max(rate, 1e-9):,.0f} s left"
                )

        return update

    def _print(self, table: Table) -> None:
        self._out.print(table)

    def show_dataset(self, dataset) -> None:
        """Images per class and split, and what was left out."""
        self.say(f"{dataset.root}: {len(dataset):,} images, {len(dataset.class_names)} classes")
        if not self._quiet and dataset.class_names:
            self._talk.print(_class_table(dataset))
        for note in dataset.notes:
            self.say(note)

    def show_extraction(self, summary) -> None:
        """What an extraction did."""
        for note in summary.notes:
            self.say(note)
        counts = {
            "kept": summary.kept,
            "from an interrupted run": summary.resumed,
            "reused": summary.reused,
            "computed": summary.computed,
            "equal to another image": summary.copies,
            "skipped": len(summary.skipped),
            "removed": summary.removed,
        }
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        self.say(f"{summary.n_images:,} images: {words}")
        for reason, paths in _group_reasons(summary.skipped).items():
            shown = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
            self.say(f"  skipped {len(paths):,}: {reason}: {shown}")
        if summary.computed:
            rate = summary.computed / summary.compute_seconds
            self.say(f"{rate:,.1f} images/s, {summary.seconds:.1f} s in all")
        state = "is up to date" if summary.is_unchanged else "written"
        self.say(f"Feature file {state}, {summary.bytes / 1e6:,.1f} MB:")

    def show_epoch(self, record: dict) -> None:
        """One line per epoch."""
        self.say(
            f"epoch {record['epoch']:>3}  train loss {record['train_loss']:.4f}  "
            f"accuracy {record['train_accuracy']:.4f}   val loss {record['val_loss']:.4f}  "
            f"accuracy {record['val_accuracy']:.4f}   {record['seconds']:.1f} s"
        )

    def show_fit(self, result, *, as_json: bool) -> None:
        """The scores of a fitted head."""
        for note in result.notes:
            self.say(note)
        if as_json:
            self.result_json(
                {
                    "run": str(result.folder),
                    "chosen": result.chosen,
                    "seconds": result.seconds,
                    "metrics": {name: m.to_dict() for name, m in result.metrics.items()},
                }
            )
            return
        self._print(_score_table(result.metrics))
        best = next(name for name in ("test", "val", "train") if name in result.metrics)
        self._print(_per_class_table(result.metrics[best], best))
        self.result(f"Chosen by validation log-loss: {result.chosen}.")
        if "test" not in result.metrics:
            self.result("There is no test split: validation chose, so its scores flatter a little.")
        self.result(f"{result.seconds:.1f} s. Run: {result.folder}")

    def show_finetuning(self, result, *, as_json: bool) -> None:
        """Frozen against fine-tuned, in a table and in words."""
        for note in result.notes:
            self.say(note)
        if as_json:
            self.result_json(
                {
                    "run": str(result.folder),
                    "unfreeze": result.unfreeze,
                    "trainable_parameters": result.trainable_parameters,
                    "best_epoch": result.best_epoch,
                    "last_epoch": result.last_epoch,
                    "parity": result.parity,
                    "seconds": result.seconds,
                    "frozen": {name: m.to_dict() for name, m in result.frozen.items()},
                    "finetuned": {name: m.to_dict() for name, m in result.finetuned.items()},
                }
            )
            return
        rows = {}
        for split in (name for name in SPLITS[::-1] if name in result.frozen):
            rows[f"{split}, frozen"] = result.frozen[split]
            rows[f"{split}, fine-tuned"] = result.finetuned[split]
        self._print(_score_table(rows))
        self.result(describe_finetuning(result))
        self.result(f"{result.seconds['total']:.1f} s. Run: {result.folder}")

    def show_evaluation(self, evaluation, *, as_json: bool) -> None:
        """The scores of a run on a labelled folder."""
        skipped = [(str(p.path), p.reason) for p in evaluation.skipped]
        if as_json:
            self.result_json({**evaluation.metrics.to_dict(), "skipped": dict(skipped)})
            return
        self._print(_score_table({"these images": evaluation.metrics}))
        self._print(_per_class_table(evaluation.metrics, "these images"))
        for path, reason in skipped:
            self.say(f"skipped {path}: {reason}")

    def show_predictions(
        self, predictions: list, class_names: list[str], top: int, form: str
    ) -> None:
        """The most probable classes of each image as a table, CSV or JSON."""
        rows = []
        for prediction in predictions:
            if prediction.reason is not None:
                rows.append((str(prediction.path), None, prediction.reason))
                continue
            order = np.argsort(-prediction.probabilities, kind="stable")[:top]
            best = [(class_names[i], float(prediction.probabilities[i])) for i in order]
            rows.append((str(prediction.path), best, None))
        {"table": self._predictions_table, "csv": self._predictions_csv}.get(
            form, self._predictions_json
        )(rows, min(top, len(class_names)))

    def _predictions_table(self, rows: list, top: int) -> None:
        del top
        table = _table("image", "class", ">probability")
        for path, best, reason in rows:
            if best is None:
                table.add_row(escape(path), "[dim]skipped[/dim]", escape(reason))
            for rank, (name, probability) in enumerate(best or []):
                table.add_row(escape(path) if rank == 0 else "", escape(name), f"{probability:.3f}")
        self._print(table)

    def _predictions_csv(self, rows: list, top: int) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        ranks = range(1, top + 1)
        columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
        writer.writerow(["path", *columns, "skipped"])
        for path, best, reason in rows:
            cells = [cell for name, p in best or [] for cell in (name, f"{p:.6f}")]
            writer.writerow([path, *(cells or [""] * len(columns)), reason or ""])
        sys.stdout.write(
            text.getvalue().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        )

    def _predictions_json(self, rows: list, top: int) -> None:
        del top
        self.result_json(
            [
                {"path": path, "skipped": reason}
                if best is None
                else {"path": path, "classes": [{"name": n, "probability": p} for n, p in best]}
                for path, best, reason in rows
            ]
        )

    def show_runs(self, runs: list, *, as_json: bool) -> None:
        """A leaderboard: test accuracy where there is one, else validation's."""
        entries = sorted((_run_entry(run) for run in runs), key=lambda e: -e["accuracy"])
        if as_json:
            self.result_json(entries)
            return
        if not entries:
            self.say("No runs yet. `cli.py fit-head FEATURES` makes one.")
            return
        table = _table("run", "head", "split", ">accuracy", "95%", ">log-loss", ">images", "made")
        for entry in entries:
            low, high = entry["accuracy_interval"]
            table.add_row(
                escape(entry["run"]),
                entry["kind"],
                entry["split"],
                f"{entry['accuracy']:.4f}",
                f"{low:.3f} - {high:.3f}",
                f"{entry['log_loss']:.4f}",
                f"{entry['n_samples']:,}",
                entry["created"][:16].replace("T", " "),
            )
        self._print(table)

    def show_backbones(self, backbones: list, *, as_json: bool) -> None:
        """The table of backbones."""
        if as_json:
            self.result_json([asdict(backbone) for backbone in backbones])
            return
        table = _table(
            "backbone", "aliases", ">pixels", ">features", ">parameters", ">multiply-adds", ">top-1"
        )
        for b in backbones:
            table.add_row(
                b.name,
                ", ".join(b.aliases),
                str(b.image_size),
                f"{b.n_features:,}",
                f"{b.parameters / 1e6:.1f} M",
                f"{b.multiply_adds / 1e9:.2f} G",
                f"{b.top1:.1%}" if b.top1 else "",
            )
        self._print(table)

    def show_frost_lines(self, backbone, lines: list, *, as_json: bool) -> None:
        """A backbone's frost lines from the top."""
        if as_json:
            self.result_json([asdict(line) for line in lines])
            return
        table = _table(
            "unfreeze from", "shape below", ">trainable above", ">work below", ">cache per image"
        )
        for line in lines:
            table.add_row(
                line.name,
                " x ".join(str(size) for size in line.shape),
                f"{line.trainable_parameters_above:,}",
                f"{line.share_below:.1%}",
                f"{line.bytes_per_image / 1e3:,.1f} kB",
            )
        self._out.print(f"{backbone.name}: frost lines from the top")
        self._print(table)

    def show_feature_files(self, files: list, *, as_json: bool) -> None:
        """The feature files of a folder."""
        entries = [
            {
                "path": str(path),
                "n_samples": len(contents.images),
                "n_features": n_features,
                "backbone": contents.recipe.backbone,
                "image_size": contents.recipe.image_size,
                "created": contents.created,
            }
            for path, contents, n_features in files
        ]
        if as_json:
            self.result_json(entries)
            return
        if not entries:
            self.say("No feature files yet. `cli.py extract DATA` makes one.")
            return
        table = _table("feature file", ">images", ">features", "backbone", ">pixels", "made")
        for e in entries:
            table.add_row(
                escape(e["path"]),
                f"{e['n_samples']:,}",
                f"{e['n_features']:,}",
                e["backbone"],
                str(e["image_size"]),
                e["created"][:16].replace("T", " "),
            )
        self._print(table)

    def show_features(self, file, *, as_json: bool) -> None:
        """What is in one feature file."""
        contents = file.contents
        skipped = list(zip(contents.skipped.paths, contents.reasons, strict=True))
        facts = {
            "path": str(file.path),
            "n_samples": len(contents.images),
            "n_features": file.n_features,
            "classes": {
                name: int(np.sum(contents.labels == label))
                for label, name in enumerate(contents.class_names)
            },
            "splits": {
                name: int(np.sum(contents.splits == split)) for split, name in enumerate(SPLITS)
            },
            "n_skipped": len(skipped),
            "n_retired": len(contents.retired),
            "data_root": contents.data_root,
            "weights_source": contents.weights_source,
            "batch_size": contents.batch_size,
            "created": contents.created,
            "recipe_id": contents.recipe.id,
            "recipe": asdict(contents.recipe),
            "software": contents.software,
        }
        if as_json:
            self.result_json({**facts, "skipped": dict(skipped)})
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in facts.items():
            table.add_row(name, escape(_plain(value)))
        self._print(table)
        for reason, paths in _group_reasons(skipped).items():
            self.result(f"skipped {len(paths):,}: {reason}: {', '.join(paths[:5])}")

    def show_recomputed(self, recomputed) -> None:
        """How far recomputed rows are from the cached ones."""
        for problem in recomputed.problems:
            self.say(f"not compared: {problem}")
        self.result(
            f"{recomputed.n_rows:,} rows embedded again, greatest difference "
            f"{recomputed.greatest_difference:.2g} of the greatest feature."
        )


def describe_finetuning(result) -> str:
    """Says in words whether fine-tuning helped."""
    split = "test" if "test" in result.frozen else "val"
    before, after = result.frozen[split].accuracy, result.finetuned[split].accuracy
    opened = f"Thawed from {result.unfreeze} up ({result.trainable_parameters:,} parameters)"
    if not result.helped:
        return (
            f"{opened}, fine-tuning did not help: no epoch of {result.last_epoch} beat the frozen "
            "head on validation, so the result is the head as it was."
        )
    change = f"from {before:.4f} to {after:.4f}"
    words = "raised" if after > before else "left" if after == before else "lowered"
    how = f"{words} {split} accuracy {change}" if after != before else f"left it at {after:.4f}"
    return (
        f"{opened}, fine-tuning {how}, log-loss {result.frozen[split].log_loss:.4f} to "
        f"{result.finetuned[split].log_loss:.4f}; epoch {result.best_epoch} of "
        f"{result.last_epoch} won."
    )


def _plain(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(*columns: str) -> Table:
    """A table with a thin rule below its head; `>` in front of a column aligns it right."""
    from rich import box

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    return table


def _score_table(metrics: dict) -> Table:
    table = _table(
        "split", ">images", ">accuracy", ">95% interval", ">balanced", ">macro F1", ">log-loss"
    )
    for name, m in metrics.items():
        low, high = m.accuracy_interval
        table.add_row(
            name,
            f"{m.n_samples:,}",
            f"{m.accuracy:.4f}",
            f"{low:.4f} - {high:.4f}",
            f"{m.balanced_accuracy:.4f}",
            f"{m.macro_f1:.4f}",
            f"{m.log_loss:.4f}",
        )
    return table


def _per_class_table(metrics, split: str) -> Table:
    table = _table(f"class ({split})", ">images", ">precision", ">recall", ">F1")
    for c in metrics.per_class:
        numbers = ("-" if x is None else f"{x:.3f}" for x in (c.precision, c.recall, c.f1))
        table.add_row(escape(c.name), f"{c.n_samples:,}", *numbers)
    return table


def _class_table(dataset) -> Table:
    """Images per class and given split, with a bar as long as the class is large."""
    given = [split for split in range(len(SPLITS)) if np.any(dataset.splits == split)]
    table = _table("class", *(f">{SPLITS[split]}" for split in given), ">images", "")
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.class_names))
    for label, name in enumerate(dataset.class_names):
        is_class = dataset.labels == label
        table.add_row(
            escape(name),
            *(f"{np.sum(is_class & (dataset.splits == split)):,}" for split in given),
            f"{counts[label]:,}",
            "█" * max(1, round(_BAR_WIDTH * counts[label] / counts.max())),
        )
    return table


def _group_reasons(skipped: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Reason -> paths, the most frequent first; numbers in a reason do not split a group."""
    groups: dict[str, list[str]] = {}
    for path, reason in skipped:
        groups.setdefault(reason.split(" (")[0], []).append(path)
    order = Counter({reason: len(paths) for reason, paths in groups.items()})
    return {reason: groups[reason] for reason, _ in order.most_common()}


def _run_entry(run) -> dict:
    metrics = run.manifest["metrics"]
    split = next(name for name in ("test", "val", "train") if name in metrics)
    return {
        "run": str(run.folder),
        "kind": run.kind,
        "backbone": run.recipe.backbone,
        "split": split,
        **{
            name: metrics[split][name]
            for name in ("n_samples", "accuracy", "accuracy_interval", "log_loss", "macro_f1")
        },
        "chosen": run.manifest["chosen"],
        "created": run.manifest["created"],
    }
