"""What gives a class away without looking at the picture: facts of the files alone.

A head that reads them from the pixels (compression, a border, a camera's colours) scores well here
and fails elsewhere. A small tree for each fact learns on half of the images which of its values
mean which class; what it says is claimed if the other half bears it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.images.decoding.file_facts import FileFacts, read_file_facts
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.images.splits import UNLABELLED
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.printable import visible

KIND = "shortcut"
MOST_FILES = 5_000
_CHANCE = 1e-3  # of one false claim or more in an audit, by chance
_SURPLUS = 0.2  # by which a class is more frequent than among all images
_OF_CLASS = 0.1  # least share of the class that a claim is about
_ALMOST_ALL = 0.9  # of a value's images, where it may be what the class looks like
_LEAVES = 8
_FEWEST = 3  # images of a leaf
_N_SHOWN = 3  # values or spans
_MOST_VALUES = 50  # of a fact that is no number


@dataclass(frozen=True)
class Fact:
    """A fact of files.

    Args:
        name: for people, before a value.
        read: its value: a number, or a text that is empty where the file does not say.
        unit: behind numbers.
        may_be_content: pictures of a class may well have it in common.
    """

    name: str
    read: Callable[[FileFacts], float | str]
    unit: str = ""
    may_be_content: bool = False


FACTS = (
    Fact("width", lambda facts: float(facts.width), " pixels"),
    Fact("height", lambda facts: float(facts.height), " pixels"),
    Fact("width divided by height", lambda facts: facts.width / max(1, facts.height)),
    Fact("size of the file", lambda facts: float(facts.n_bytes), " bytes", may_be_content=True),
    Fact("bytes a pixel", lambda facts: facts.n_bytes / max(1, facts.width * facts.height),
         may_be_content=True),
    Fact("format", lambda facts: facts.format),
    Fact("compression", lambda facts: facts.compression),
    Fact("camera", lambda facts: facts.camera),
    Fact("software", lambda facts: facts.software),
    Fact("date", lambda facts: facts.date),
    Fact("mean red", lambda facts: facts.colour[0], " of 255", may_be_content=True),
    Fact("mean green", lambda facts: facts.colour[1], " of 255", may_be_content=True),
    Fact("mean blue", lambda facts: facts.colour[2], " of 255", may_be_content=True),
    Fact("brightness of the border", lambda facts: facts.border, " of 255", may_be_content=True),
    Fact("contrast in the border", lambda facts: facts.border_contrast, " of 255",
         may_be_content=True),
)  # fmt: skip


@dataclass(frozen=True)
class Shortcut:
    """A claim that the half of the images that it was not learnt from bears out.

    Args:
        fact: that gives the class away.
        value: of the fact, in words.
        label: of the class.
        share: of the images with that value that are of the class, 0..1.
        n: images with that value.
        base: share of the class among all images.
        p: of so many or more by chance, for all claims together.
        places: of all images with that value, also of the half that was learnt from.
    """

    fact: Fact
    value: str
    label: int
    share: float
    n: int
    base: float
    p: float
    places: np.ndarray


def find_shortcuts(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """A finding for each fact and class; nothing where the image files are not at hand."""
    if rows.root is None:
        return [], []
    labelled = _draw(rows)
    facts = _read(rows, labelled)
    seen = np.array([row for row in labelled.tolist() if row in facts], np.int64)
    found = list_shortcuts([facts[row] for row in seen.tolist()], rows.labels[seen], rows.seed)
    return [], [_describe(rows, seen, shortcut) for shortcut in found]


def list_shortcuts(facts: Sequence[FileFacts], labels: np.ndarray, seed: int) -> list[Shortcut]:
    """Claims that hold, the surest of each fact and class, the clearest first.

    Args:
        facts: of different files.
        labels: int32 `(len(facts),)`.
        seed: decides which half is learnt from.

    Source: where labels do not depend on a fact, the number of images of a class among those with a
    value is hypergeometric (Fisher's exact test); Bonferroni for all claims.
    """
    from scipy.stats import hypergeom

    if len(np.unique(labels)) < 2:
        return []
    learn, judge = _halve(labels, seed)
    claims = [
        (fact, label, places, values)
        for fact in FACTS
        for values in [[fact.read(one) for one in facts]]
        for label, places in _learn(values, labels, learn)
    ]
    is_judge = np.zeros(len(labels), bool)
    is_judge[judge] = True
    found: dict[tuple[str, int], Shortcut] = {}
    for fact, label, places, values in claims:
        own = labels[places[is_judge[places]]]
        n, n_right = len(own), int((own == label).sum())
        n_class = int((labels[judge] == label).sum())
        if not n or not n_class:
            continue
        base, share = n_class / len(judge), n_right / n
        p = float(hypergeom.sf(n_right - 1, len(judge), n_class, n)) * len(claims)
        is_clear = share >= base + _SURPLUS and n_right >= _OF_CLASS * n_class
        if p > _CHANCE or not is_clear or (fact.may_be_content and share < _ALMOST_ALL):
            continue
        value = _describe_values(values, places, fact)
        made = Shortcut(fact, value, label, share, n, base, min(1.0, p), places)
        if (fact.name, label) not in found or p < found[fact.name, label].p:
            found[fact.name, label] = made
    return sorted(found.values(), key=lambda one: (one.p, -one.share))


def _draw(rows: AuditedRows) -> np.ndarray:
    """Different images with a label, at most 5,000."""
    firsts = np.unique(rows.digests, axis=0, return_index=True)[1]
    distinct = np.sort(firsts[rows.labels[firsts] != UNLABELLED])
    order = np.random.default_rng(rows.seed).permutation(len(distinct))[:MOST_FILES]
    return np.sort(distinct[order])


def _read(rows: AuditedRows, chosen: np.ndarray) -> dict[int, FileFacts]:
    """The facts of each file that can be read."""
    root = rows.root
    if root is None:
        return {}

    def read(row: int) -> FileFacts | None:
        return read_file_facts(
            root / rows.paths[row], rows.contents.recipe, rows.digests[row], DEFAULT_LIMITS
        )

    found = {}
    for done, (row, facts) in enumerate(
        zip(chosen.tolist(), map_batches(read, chosen.tolist(), count_cores()), strict=True), 1
    ):
        if facts is not None:
            found[row] = facts
        rows.on_progress("Reading facts of files", done, len(chosen))
    return found


def _halve(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves with as many of each class, to one image."""
    random = np.random.default_rng(seed)
    learn, judge = [], []
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        learn.append(own[: len(own) // 2])
        judge.append(own[len(own) // 2 :])
    return np.concatenate(learn), np.concatenate(judge)


def _learn(
    values: Sequence[float | str], labels: np.ndarray, learn: np.ndarray
) -> list[tuple[int, np.ndarray]]:
    """What a small tree says: a class, and the places of all images of which it says it."""
    from sklearn.tree import DecisionTreeClassifier

    columns = _to_columns(values)
    if columns.shape[1] == 0 or not len(learn):
        return []
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_LEAVES, min_samples_leaf=_FEWEST, class_weight="balanced", random_state=0
    ).fit(columns[learn], labels[learn])
    if tree.get_n_leaves() < 2:
        return []
    said = tree.predict(columns)
    return [(label, np.flatnonzero(said == label)) for label in np.unique(said).tolist()]


def _to_columns(values: Sequence[float | str]) -> np.ndarray:
    """A column of numbers, or one for each text that is frequent; none where all are equal."""
    if isinstance(values[0], float):
        return np.array(values, np.float64)[:, None]
    texts = np.array(values)
    names, counts = np.unique(texts, return_counts=True)
    if len(names) < 2:
        return np.zeros((len(values), 0))
    kept = names[np.argsort(-counts, kind="stable")[:_MOST_VALUES]]
    return np.stack([texts == name for name in kept], axis=1)


def _describe_values(values: Sequence[float | str], places: np.ndarray, fact: Fact) -> str:
    """`259 pixels`, `1.2 to 1.4 or 2.1 to 2.2`, `JPEG quality 60`; the most frequent first three.

    Args:
        places: of the files that it is about, among all.
    """
    if isinstance(values[0], str):
        names, counts = np.unique(np.array(values)[places], return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")]
        said = [visible(str(name)) or "not told" for name in frequent]
    else:
        said = _list_spans(np.array(values, np.float64), places)
    more = len(said) - _N_SHOWN
    rest = f" or {more:,} more" if more > 0 else ""
    return f"{' or '.join(said[:_N_SHOWN])}{rest}{fact.unit}"


def _list_spans(values: np.ndarray, places: np.ndarray) -> list[str]:
    """Spans of values that these files have, and no others between them."""
    is_ours = np.zeros(len(values), bool)
    is_ours[places] = True
    known, firsts = np.unique(values, return_index=True)  # one value is all ours, or not at all
    ours = is_ours[firsts]
    starts = np.flatnonzero(ours & ~np.concatenate([[False], ours[:-1]]))
    ends = np.flatnonzero(ours & ~np.concatenate([ours[1:], [False]]))
    spans = []
    for start, end in zip(starts, ends, strict=True):
        least, most = _shorten(known[start]), _shorten(known[end])
        spans.append(least if least == most else f"{least} to {most}")
    return spans


def _shorten(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == round(number) else f"{number:.3g}"


def _describe(rows: AuditedRows, seen: np.ndarray, found: Shortcut) -> DataFinding:
    name = visible(rows.class_names[found.label])
    fact = found.fact.name
    heading = f"{fact[0].upper()}{fact[1:]} gives {name} away"
    text = (
        f"Files with {fact} {found.value} are {found.share:.0%} {name} "
        f"({found.n:,} files that this was not learnt from; of all files {found.base:.0%} are). "
    )
    if found.fact.may_be_content:
        text += "That may be what this class looks like; if it is how its images were made, "
    else:
        text += "The picture does not tell that: "
    text += (
        "a head may learn it in place of what the images show, score well here and fail elsewhere. "
        "Make the images of all classes in the same way."
    )
    members = seen[found.places]
    return DataFinding(KIND, heading, text, members[:50].tolist(), len(members))
