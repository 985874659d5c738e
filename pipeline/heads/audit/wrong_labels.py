"""Labels that are likely wrong: confident learning on probabilities of images left out.

Source: C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70 (2021), arXiv 1911.00068, as cleanlab has it.
"""

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.system.printable import count, visible

KIND = "wrong label"
_N_RELATED = 3


def find_wrong_labels(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """Images that heads which never saw them take for another class, and are sure of it."""
    left_out = rows.left_out
    if left_out is None:
        return [], []
    probabilities, labels = left_out.probabilities, left_out.labels
    doubtful = flag_labels(labels, probabilities)
    guesses = probabilities.argmax(axis=1)
    trust = measure_trust(labels, probabilities)
    issues = []
    for place in doubtful[np.argsort(trust[doubtful], kind="stable")].tolist():
        row, guess = int(left_out.rows[place]), int(guesses[place])
        nearest = rows.neighbours.rows[row]
        speaking = nearest[rows.labels[nearest] == guess][:_N_RELATED].tolist()
        issues.append(Issue(row, KIND, 1 - float(trust[place]), rows.class_names[guess], speaking))
    if not issues:
        return [], []
    return issues, [_describe(rows, issues)]


def _describe(rows: AuditedRows, issues: list[Issue]) -> DataFinding:
    first = issues[0]
    label = visible(rows.class_names[rows.labels[first.row]])
    n_labelled = len(rows.labelled)
    return DataFinding(
        KIND,
        f"{count(len(issues), 'label')} {'is' if len(issues) == 1 else 'are'} likely wrong",
        f"Of {count(n_labelled, 'image')} with a label, these are taken for another class by heads "
        "that were fitted without them, more surely than images of that class are on average "
        f"(confident learning). The most doubtful is called {label} and looks like "
        f"{visible(first.suggestion)}. Some are only hard: look before you change a label.",
        [issue.row for issue in issues],
        len(issues),
    )


def measure_trust(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How much each label is to be trusted, float64 `(n,)`, 0..1.

    Half of one and the margin between the label's probability and the highest of the others'.

    Args:
        labels: int `(n,)`.
        probabilities: float64 `(n, n_classes)`, of heads that never saw the image.
    """
    from cleanlab.rank import get_label_quality_scores

    trust: np.ndarray = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    return trust


def flag_labels(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Places of the labels that are likely wrong, rising, int64; arguments as above.

    Of each label and each class the number of images that are truly of the class is estimated; so
    many are flagged, those with the greatest margin for it.
    """
    from cleanlab.filter import find_label_issues

    return np.flatnonzero(find_label_issues(labels, probabilities, n_jobs=1))
