"""`card.md`: for whoever uses an exported model, what it is, how good, how to use it, its limits.

All of it comes from the run and from what was proven; a card says nothing that was not measured.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.classifier.export.beside.snippets import show_preparing, show_use
from pipeline.classifier.export.beside.thresholds import list_rules
from pipeline.classifier.export.contents import DISTANCE, Contents
from pipeline.images.splits import SPLITS
from pipeline.report.gathering.scored_run import ScoredRun, read_scored_run
from pipeline.report.gathering.summary import summarise
from pipeline.runs.confusion_matrices import read_confusion_matrices
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import SCORED_SPLITS, Metrics
from pipeline.system.printable import count, printable

FILE_NAME = "card.md"
N_CONFUSIONS = 5
_MOST_CLASSES = 100  # that a table has a row for
_RESIZING = {
    "stretch": "The whole picture is stretched to the square, whatever its shape.",
    "crop": "The middle square of the picture is taken, as large as it goes, and resized.",
    "pad": "The whole picture is resized to fit, keeping its shape, and put in the middle.",
}


def describe_model(run: Run, contents: Contents) -> str:
    """The card, in Markdown.

    Raises:
        RunError: what the run says of its images cannot be read.
    """
    scored = read_scored_run(run)
    parts = [
        [f"# {_cell(contents.run)}", *_describe_kind(contents)],
        ["## What goes in, what comes out", *_describe_ports(contents)],
        ["## From a picture to pixels", *_describe_preparing(contents)],
        ["## Files", *_describe_files(contents)],
        ["## Use", *_describe_use(contents)],
        ["## How good it is", *summarise(scored), *_list_scores(run), *_list_confusions(run)],
        ["## What it cannot do", *_list_limits(run, contents, scored)],
        ["## What trained it", *_describe_data(run, scored)],
        ["## Is it the same here?", *_describe_check()],
        ["## Software", *_list_software(run, contents)],
    ]
    return "\n\n".join(block for part in parts for block in part) + "\n"


def _describe_kind(contents: Contents) -> list[str]:
    names = [_cell(name) for name in contents.class_names]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
    return [
        f"Says which of {count(len(names), 'class')} a picture shows: {shown}.",
        f"Exported from the run {_cell(contents.run)} by Frostline, {contents.created}.",
    ]


def _describe_ports(contents: Contents) -> list[str]:
    into = contents.input
    n_classes = len(contents.class_names)
    rows = [
        ("in", into.name, f"{into.dtype} (n, {into.height}, {into.width}, 3)", "RGB, 0..255"),
        ("out", "probabilities", f"float32 (n, {n_classes})", "in the order of `labels.txt`"),
    ]
    if DISTANCE in contents.outputs:
        rows.append(("out", DISTANCE, "float32 (n,)", "from what trained it, 0..2"))
    return [
        _table(["", "name", "type, shape", "what"], rows),
        "Nothing is to be subtracted or divided: that, the calibration and the softmax are inside. "
        "`labels.txt` has a name a line; `export.json` has the same for programs.",
    ]


def _describe_preparing(contents: Contents) -> list[str]:
    into = contents.input
    red, green, blue = into.background
    steps = [
        "Turned upright, as its EXIF orientation says.",
        "Colours are sRGB; those with an ICC profile of another kind are converted.",
        f"Transparent pixels lie on the colour {red}, {green}, {blue}"
        + (", which is around the picture, too." if into.resize == "pad" else "."),
        f"{_RESIZING[into.resize]} Size: {into.width} x {into.height} pixels.",
        f"Filter: {into.filter}: each pixel is a mean over all that it covers. Without "
        "antialiasing (OpenCV's and most phones' bilinear) the answers are others.",
    ]
    return [
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)),
        "With Pillow, the same to within one level for pictures of 8 bits (a large JPEG is shrunk "
        "while it is decoded, which is quicker; a whole one differs by a level here and there):",
        _code(show_preparing(into), "python"),
        "`reference/images` has pictures as they came, `reference/pixels` what they become.",
    ]


def _describe_files(contents: Contents) -> list[str]:
    rows = []
    for name, model in contents.models.items():
        proof = model.proof
        rows.append(
            (
                name,
                f"`{model.file}`",
                f"{model.n_bytes / 1e6:.1f} MB",
                model.precision,
                f"{proof.runtime}, {count(proof.n_images, 'image')}: probabilities within "
                f"{proof.greatest_difference:.1g}, the same class for {proof.same_class:.1%}",
            )
        )
    blocks = [_table(["format", "file", "size", "precision", "proven in"], rows)]
    notes = [f"{name}: {note}" for name, model in contents.models.items() for note in model.notes]
    refused = [f"{name} was refused: {why}" for name, why in contents.refused.items()]
    lines = [f"- {_cell(line)}" for line in (*notes, *refused)]
    return [*blocks, *(["\n".join(lines)] if lines else [])]


def _describe_use(contents: Contents) -> list[str]:
    blocks = []
    for name, model in contents.models.items():
        code = show_use(name, model, contents.input)
        if code is not None:
            blocks += [f"{name}, with `prepare` from above:", _code(code, "python")]
        else:
            blocks.append(f"{name}: open `{model.file}` in a browser.")
    return blocks


def _list_scores(run: Run) -> list[str]:
    """A table of splits, and one of classes of the split that counts."""
    scores = run.manifest.metrics
    rows = [_row_of(name, scores[name]) for name in SCORED_SPLITS if name in scores]
    head = ["split", "images", "accuracy", "95% interval", "balanced accuracy", "log-loss"]
    per_class = scores[run.manifest.scored_split].per_class
    blocks = [_table(head, rows)]
    if len(per_class) <= _MOST_CLASSES:
        classes = [
            (_cell(one.name), f"{one.n_samples:,}", _share(one.precision), _share(one.recall))
            for one in per_class
        ]
        head = ["class", f"images ({run.manifest.scored_split})", "precision", "recall"]
        blocks.append(_table(head, classes))
    return blocks


def _row_of(name: str, metrics: Metrics) -> tuple[str, ...]:
    low, high = metrics.accuracy_interval
    return (
        name,
        f"{metrics.n_samples:,}",
        f"{metrics.accuracy:.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{metrics.balanced_accuracy:.4f}",
        f"{metrics.log_loss:.4f}",
    )


def _list_confusions(run: Run) -> list[str]:
    """The pairs of classes that are taken for one another most often."""
    matrix = read_confusion_matrices(run)[run.manifest.scored_split].astype(np.int64)
    wrong = matrix - np.diag(np.diag(matrix))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:N_CONFUSIONS].tolist()
    names = [_cell(name) for name in run.class_names]
    lines = []
    for pair in pairs:
        label, called = divmod(pair, len(matrix))
        if wrong[label, called] > 0:
            share = f"{wrong[label, called]:,} of {matrix[label].sum():,}"
            lines.append(f"- {names[label]}, taken for {names[called]}: {share}")
    return ["Mistaken most often:", "\n".join(lines)] if lines else []


def _list_limits(run: Run, contents: Contents, scored: ScoredRun) -> list[str]:
    promise = run.manifest.promise
    limits = []
    if promise is None:
        limits.append(
            "The answer is always one of its classes, for a picture of something else, too. A low "
            "probability is a sign of doubt, not of something unknown."
        )
    else:
        limits.append("Some pictures get no answer (`thresholds.json` has the numbers):")
        limits += [f"  {rule}" for rule in list_rules(promise)]
        limits.append(
            "The promise holds for pictures like those that showed it, and for the run's own "
            "arithmetic; in fewer bits (float16, bfloat16, int8) it was not shown."
        )
    limits.append(
        f"Its scores hold for pictures like those that gave them ({scored.split}, of its own data "
        "set): other cameras, light, backgrounds or shares of the classes change them."
    )
    limits.append(
        f"It sees {contents.input.width} x {contents.input.height} pixels: what is too small to "
        "be told in them is not seen."
    )
    return ["\n".join(line if line[0] == " " else f"- {line}" for line in limits)]


def _describe_data(run: Run, scored: ScoredRun) -> list[str]:
    manifest = run.manifest
    named = f"The data set {_cell(manifest.data_name)}" if manifest.data_name else "A data set"
    splits = [
        (number, name) for number, name in enumerate(SPLITS) if (scored.splits == number).any()
    ]
    counts = [
        np.bincount(
            scored.labels[(scored.splits == number) & (scored.labels >= 0)],
            minlength=len(run.class_names),
        )
        for number, _ in splits
    ]
    rows = [
        (_cell(name), *(f"{column[place]:,}" for column in counts))
        for place, name in enumerate(run.class_names)
    ]
    total = ("all", *(f"{column.sum():,}" for column in counts))
    rows = [*rows, total] if len(rows) <= _MOST_CLASSES else [total]
    facts = [f"{named}, images by class and split:"]
    table = _table(["class", *(name for _, name in splits)], rows)
    backbones = [
        f"{used.recipe.backbone}, weights {used.recipe.weights[:19]}" for used in manifest.backbones
    ]
    notes = [f"- {_cell(note)}" for note in manifest.notes]
    return [
        *facts,
        table,
        f"Backbone: {'; '.join(map(_cell, backbones))}.",
        *(["\n".join(notes)] if notes else []),
    ]


def _describe_check() -> list[str]:
    return [
        _code("python check.py", ""),
        "runs every model here whose runtime is installed on the images of `reference/` and "
        "compares; it needs numpy and that runtime. `python check.py /elsewhere/model.onnx` checks "
        "a copy or a conversion. It judges what an app said to `reference/pixels`, too: see "
        "`python check.py -h`. Where something differs it says what it looks like: another order "
        "of the classes, another scale, BGR, fewer bits.",
        "The reference images are of the data set: leave `reference/` out of what you hand on if "
        "they are not for everybody's eyes.",
    ]


def _list_software(run: Run, contents: Contents) -> list[str]:
    versions = {**run.manifest.software, **contents.software}
    return ["\n".join(f"- {_cell(name)} {_cell(number)}" for name, number in versions.items())]


def _table(head: list[str], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """A name as Markdown has it in one line."""
    return "".join(
        f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in printable(text)
    )
