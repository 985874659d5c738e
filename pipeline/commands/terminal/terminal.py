"""What people see in a terminal: results on stdout, talk and progress on stderr."""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.terminal.class_chart import draw_class_chart
from pipeline.commands.terminal.lists import backbones_table, feature_files_table, run_tables
from pipeline.commands.terminal.progress import progress_bar, progress_lines
from pipeline.commands.terminal.tables import make_table, per_class_table, plain, score_table
from pipeline.commands.terminal.words import say_in_commands
from pipeline.images.splits import NO_SPLIT, SPLITS
from pipeline.system.printable import printable, printable_lines, to_json

if TYPE_CHECKING:
    from pipeline.backbones.frost_lines import FrostLine
    from pipeline.backbones.registry import Backbone
    from pipeline.classifier.evaluate import Evaluation
    from pipeline.classifier.model import Prediction
    from pipeline.features.feature_file import Contents, FeatureFile
    from pipeline.features.summary import ExtractSummary
    from pipeline.features.verify import Recomputed
    from pipeline.finetuning.finetune import FinetuneResult
    from pipeline.heads.fit_head import FitResult
    from pipeline.images.dataset import Dataset

_UNLIMITED = 100_000  # characters in a line of a pipe or file, where nothing must be broken


# Path of an image, its classes with their probabilities, or why it has none.
_PredictionRow = tuple[str, list[tuple[str, float]] | None, str | None]


class Terminal:
    """Prints for people and scripts; with `quiet`, only results."""

    def __init__(self, *, quiet: bool = False):
        self._quiet = quiet
        if hasattr(sys.stdout, "reconfigure"):  # stray bytes of file names leave as they came
            sys.stdout.reconfigure(errors="surrogateescape")
        width = None if sys.stdout.isatty() else _UNLIMITED
        self._out = Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())
        self._talk = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)

    def say(self, text: str) -> None:
        """Talk on stderr, in lines that do nothing to a terminal whatever names are in them."""
        self._talk.print(escape(printable_lines(say_in_commands(text))))

    def complain(self, text: str) -> None:
        """What went wrong, on stderr, even with `quiet`; for errors that end nothing."""
        sys.stderr.write(printable_lines(say_in_commands(text)) + "\n")

    def result(self, text: str) -> None:
        """A result: one line on stdout, as it is."""
        sys.stdout.write(text + "\n")

    def tell(self, text: str) -> None:
        """A result in words of the library, for people."""
        self.result(say_in_commands(text))

    def result_json(self, value: object) -> None:
        self.result(to_json(value))

    def progress(self) -> AbstractContextManager[Callable[[str, int, int], None]]:
        """Gives a function of (stage, done, total) that draws a bar, or a line now and then."""
        if self._quiet:
            return nullcontext(lambda stage, done, total: None)
        if self._talk.is_terminal:
            return progress_bar(self._talk)
        return nullcontext(progress_lines(self.say))

    def hush(self) -> AbstractContextManager[Any]:
        """With `quiet`, keeps off stderr what libraries write there: Keras's progress bar."""
        return redirect_stderr(io.StringIO()) if self._quiet else nullcontext()

    def _print(self, table: Table) -> None:
        with self._out.capture() as captured:
            self._out.print(table)
        self._write_lines(captured.get())

    def _print_whole(self, table: Table) -> None:
        """As wide as it is: the terminal breaks a line that is too long, and cuts nothing off."""
        with self._out.capture() as captured:
            self._out.print(table, width=_UNLIMITED, crop=False)
        self._write_lines(captured.get())

    def _write_lines(self, text: str) -> None:
        """Without the spaces that fill a table's lines up: they would break in a terminal."""
        sys.stdout.write("\n".join(line.rstrip(" ") for line in text.split("\n")))

    def show_dataset(self, dataset: "Dataset") -> None:
        """Images per class and split, and what was left out."""
        n_classes = len(dataset.class_names)
        classes = f"{n_classes:,} class{'' if n_classes == 1 else 'es'}"
        images = f"{len(dataset):,} image{'' if len(dataset) == 1 else 's'}"
        self.say(f"{printable(str(dataset.source))}: {images}, {classes}")
        if not self._quiet and dataset.class_names:
            counts, columns = _count_given_splits(dataset)
            self._talk.print(draw_class_chart(dataset.class_names, counts, columns))
        for note in dataset.notes:
            self.say(note)

    def show_extraction(self, summary: "ExtractSummary") -> None:
        """What an extraction did."""
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
        for line in _describe_skipped(summary.skipped, n_shown=3):
            self.say(f"  {line}")
        if summary.computed:
            rate = summary.computed / summary.compute_seconds
            self.say(f"{rate:,.1f} images/s, {summary.seconds:.1f} s in all")
        state = "is up to date" if summary.is_unchanged else "written"
        self.say(f"Feature file {state}, {summary.bytes / 1e6:,.1f} MB:")

    def show_epoch(self, record: dict[str, float]) -> None:
        """One line per epoch."""
        self.say(
            f"epoch {record['epoch']:>3}  train loss {record['train_loss']:.4f}  "
            f"accuracy {record['train_accuracy']:.4f}   val loss {record['val_loss']:.4f}  "
            f"accuracy {record['val_accuracy']:.4f}   {record['seconds']:.1f} s"
        )

    def show_fit(self, result: "FitResult", *, as_json: bool) -> None:
        """The scores of a fitted head."""
        if not self._quiet:
            is_used = np.any(result.n_images, axis=0)
            columns = [name for name, used in zip(SPLITS, is_used, strict=True) if used]
            counts = result.n_images[:, is_used]
            self._talk.print(draw_class_chart(result.class_names, counts, columns))
        for note in result.notes:
            self.say(note)
        if as_json:
            self.result_json(
                {
                    "run": str(result.folder),
                    "chosen": result.chosen,
                    "chosen_by": result.chosen_by,
                    "seconds": result.seconds,
                    "metrics": {name: m.to_dict() for name, m in result.metrics.items()},
                }
            )
            return
        self._print(score_table(result.metrics))
        best = next(name for name in ("test", "val", "train") if name in result.metrics)
        self._print(per_class_table(result.metrics[best], best))
        self.result(_describe_choice(result))
        if "test" not in result.metrics and result.chosen_by == "val":
            self.result("There is no test split: validation chose, so its scores flatter a little.")
        self.result(f"{result.seconds:.1f} s. Run: {result.folder}")

    def show_finetuning(self, result: "FinetuneResult", *, as_json: bool) -> None:
        """Frozen against fine-tuned, in a table and in words."""
        found = result.assessment
        if as_json:
            self.result_json(
                {
                    "run": str(result.folder),
                    "unfreeze": result.unfreeze,
                    "trainable_parameters": result.trainable_parameters,
                    "best_epoch": result.best_epoch,
                    "last_epoch": result.last_epoch,
                    "parity": result.parity,
                    "used_trunk_cache": result.used_trunk_cache,
                    "comparison": found.comparison.to_dict(),
                    "verdict": found.verdict,
                    "next_step": found.next_step,
                    "notes": result.notes,
                    "seconds": result.seconds,
                    "frozen": {name: m.to_dict() for name, m in found.frozen.items()},
                    "finetuned": {name: m.to_dict() for name, m in found.finetuned.items()},
                }
            )
            return
        rows = {}
        for split in (name for name in SPLITS[::-1] if name in found.frozen):
            rows[f"{split}, frozen"] = found.frozen[split]
            rows[f"{split}, fine-tuned"] = found.finetuned[split]
        self._print(score_table(rows))
        self.tell(describe_finetuning(result))
        stages = ", ".join(
            f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items() if seconds >= 0.1
        )
        self.result(f"Seconds: {stages}. Images that changed sides: changed-sides.csv")
        self.result(f"Run: {result.folder}")

    def show_evaluation(self, evaluation: "Evaluation", *, as_json: bool) -> None:
        """The scores of a run on a labelled folder."""
        for note in evaluation.notes:
            self.say(note)
        skipped = [(str(p.path), p.reason) for p in evaluation.skipped]
        if as_json:
            self.result_json({**evaluation.to_dict(), "skipped": dict(skipped)})
            return
        self._print(score_table({"these images": evaluation.metrics}))
        self._print(per_class_table(evaluation.metrics, "these images"))
        for path, reason in skipped:
            self.say(f"skipped {printable(path)}: {reason}")

    def show_predictions(
        self, predictions: "Sequence[Prediction]", class_names: list[str], top: int, form: str
    ) -> None:
        """The most probable classes of each image as a table, CSV or JSON."""
        rows: list[_PredictionRow] = []
        for prediction in predictions:
            if prediction.probabilities is None:
                rows.append((str(prediction.path), None, prediction.reason))
                continue
            order = np.argsort(-prediction.probabilities, kind="stable")[:top]
            best = [(class_names[i], float(prediction.probabilities[i])) for i in order]
            rows.append((str(prediction.path), best, None))
        {"table": self._predictions_table, "csv": self._predictions_csv}.get(
            form, self._predictions_json
        )(rows, min(top, len(class_names)))

    def _predictions_table(self, rows: list[_PredictionRow], top: int) -> None:
        del top
        table = make_table("image", "class", ">probability")
        for path, best, _ in rows:
            for rank, (name, probability) in enumerate(best or []):
                shown = escape(printable(path)) if rank == 0 else ""
                table.add_row(shown, escape(printable(name)), f"{probability:.3f}")
        if table.rows:
            self._print(table)
        for path, _, reason in rows:
            if reason is not None:
                self.result(f"skipped {printable(path)}: {printable(reason)}")

    def _predictions_csv(self, rows: list[_PredictionRow], top: int) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        ranks = range(1, top + 1)
        columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
        writer.writerow(["path", *columns, "skipped"])
        for path, best, reason in rows:
            cells = [cell for name, p in best or [] for cell in (name, f"{p:.6f}")]
            writer.writerow([path, *(cells or [""] * len(columns)), reason or ""])
        sys.stdout.write(text.getvalue())

    def _predictions_json(self, rows: list[_PredictionRow], top: int) -> None:
        del top
        self.result_json(
            [
                {"path": path, "skipped": reason}
                if best is None
                else {"path": path, "classes": [{"name": n, "probability": p} for n, p in best]}
                for path, best, reason in rows
            ]
        )

    def show_runs(
        self, entries: list[dict[str, Any]], problems: list[str], *, as_json: bool
    ) -> None:
        """The runs by data set and scored split; those that cannot be read are named."""
        for problem in problems:
            self.complain(f"Left out: {problem}")
        if as_json:
            self.result_json(entries)
            return
        if not entries and not problems:
            self.say("No runs yet. `cli.py fit-head FEATURES` makes one.")
        for heading, table in run_tables(entries, self._out.width) if entries else []:
            self.result(heading)
            self._print_whole(table)

    def show_backbones(self, backbones: "list[Backbone]", *, as_json: bool) -> None:
        """The table of backbones."""
        if as_json:
            self.result_json([asdict(backbone) for backbone in backbones])
            return
        self._print_whole(backbones_table(backbones, self._out.width))

    def show_frost_lines(
        self, backbone: "Backbone", lines: "list[FrostLine]", *, as_json: bool
    ) -> None:
        """A backbone's frost lines from the top."""
        if as_json:
            self.result_json([asdict(line) for line in lines])
            return
        table = make_table(
            "unfreeze from", "shape below", ">trainable above", ">work below", ">cache per image"
        )
        table.collapse_padding = True  # so that the usual names and shapes fit into 80 characters
        for line in lines:
            table.add_row(
                line.name,
                " x ".join(str(size) for size in line.shape),
                f"{line.trainable_parameters_above:,}",
                f"{line.share_below:.1%}",
                f"{line.bytes_per_image / 1e3:,.1f} kB",
            )
        self._out.print(f"{backbone.name}: frost lines from the top")
        self._print_whole(table)

    def show_feature_files(
        self, files: "list[tuple[Path, Contents, int]]", problems: list[str], *, as_json: bool
    ) -> None:
        """The feature files of a folder; those that cannot be read are named."""
        for problem in problems:
            self.complain(f"Left out: {problem}")
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
            if not problems:
                self.say("No feature files yet. `cli.py extract DATA` makes one.")
            return
        self._print_whole(feature_files_table(entries, self._out.width))

    def show_features(self, file: "FeatureFile", *, as_json: bool) -> None:
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
            "split_rule": contents.split_rule,
            "n_skipped": len(skipped),
            "n_retired": len(contents.retired),
            "data_root": contents.data_root,
            "weights_source": contents.weights_source,
            "batch_size": contents.batch_size,
            "engines": [str(engine) for engine in contents.engines],
            "created": contents.created,
            "recipe_id": contents.recipe.id,
            "recipe": asdict(contents.recipe),
            "software": contents.software,
        }
        if as_json:
            engines = [asdict(engine) for engine in contents.engines]
            self.result_json({**facts, "engines": engines, "skipped": dict(skipped)})
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, escape(plain(value)))
        self._print(table)
        for line in _describe_skipped(skipped, n_shown=5):
            self.result(line)

    def show_recomputed(self, recomputed: "Recomputed") -> None:
        """How far recomputed rows are from the cached ones."""
        for problem in recomputed.problems:
            self.say(f"not compared: {problem}")
        self.say(f"Embedded again by {recomputed.engine}.")
        self.result(
            f"{recomputed.n_rows:,} rows embedded again, greatest difference "
            f"{recomputed.greatest_difference:.2g} of the greatest feature."
        )


def describe_finetuning(result: "FinetuneResult") -> str:
    """Says in words what was trained, whether it helped, and what to try next."""
    found = result.assessment
    return (
        f"Thawed from {result.unfreeze} up ({result.trainable_parameters:,} parameters); epoch "
        f"{result.best_epoch} of {result.last_epoch} won.\n{found.verdict}\n{found.next_step}"
    )


def _describe_choice(result: "FitResult") -> str:
    """What was chosen, and who chose it."""
    if result.chosen_by == "val":
        return f"Chosen by validation log-loss: {result.chosen}."
    return f"{result.chosen}, as given." if result.chosen_by == "user" else f"{result.chosen}."


def _count_given_splits(dataset: "Dataset") -> tuple[np.ndarray, list[str]]:
    """Images per class and given split, int (n_classes, n_columns), and names of the columns."""
    names = {split: name for split, name in enumerate(SPLITS) if np.any(dataset.splits == split)}
    if names and np.any(dataset.splits == NO_SPLIT):
        names[NO_SPLIT] = "no split"
    columns = [
        np.bincount(dataset.labels[rows], minlength=len(dataset.class_names))
        for rows in ((dataset.splits == split) & (dataset.labels >= 0) for split in names)
    ]
    if not columns:
        rows = dataset.labels >= 0
        columns = [np.bincount(dataset.labels[rows], minlength=len(dataset.class_names))]
    return np.stack(columns, axis=1), list(names.values())


def _describe_skipped(skipped: list[tuple[str, str]], n_shown: int) -> list[str]:
    """A line for each kind of reason, the most frequent first, with some of its paths.

    Reasons that differ only after a colon or in brackets are of one kind.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, reason in skipped:
        groups.setdefault(reason.split(":")[0].split(" (")[0], []).append((path, reason))
    lines = []
    for kind, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        is_one = len({reason for _, reason in members}) == 1
        shown = [
            printable(path) + ("" if is_one else _in_brackets(reason.removeprefix(kind)))
            for path, reason in members[:n_shown]
        ]
        more = ["..."] if len(members) > n_shown else []
        reason = members[0][1] if is_one else kind
        lines.append(f"skipped {len(members):,}: {reason}: {', '.join(shown + more)}")
    return lines


def _in_brackets(detail: str) -> str:
    """`: header is short` and ` (header is short)` -> ` (header is short)`."""
    return detail if detail.startswith(" (") else f" ({detail.removeprefix(': ')})"
