"""Two runs on the images that both were scored on: which is better, and can it be chance?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RunError
from pipeline.images.splits import SPLITS, TRAIN
from pipeline.runs.predictions import read_predictions
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run, open_run
from pipeline.runs.scores import wilson_interval
from pipeline.runs.significance import SIGNIFICANT, describe_p_value, mcnemar_p_value


@dataclass(frozen=True)
class RunComparison:
    """Two runs on common images.

    Args:
        runs: the two folders, A and B.
        split: `test`, or `val` where the images are not in the test split of both.
        n_images: different images that neither run was trained on, with one label in both.
        both_right, only_a_right, only_b_right, both_wrong: of these.
        p_value: of McNemar's exact test, two-sided.
        n_other_labels: common images that were left out since they have another label in B.
    """

    runs: tuple[str, str]
    split: str
    n_images: int
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    p_value: float
    n_other_labels: int

    @property
    def accuracies(self) -> tuple[float, float]:
        """Of A and of B, on the common images."""
        a, b = self._count_right()
        return a / self.n_images, b / self.n_images

    @property
    def is_optimistic(self) -> bool:
        """Whether the images also chose something, which flatters."""
        return self.split != "test"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **asdict(self),
            "accuracies": list(self.accuracies),
            "accuracy_intervals": [
                list(wilson_interval(n, self.n_images)) for n in self._count_right()
            ],
            "is_optimistic": self.is_optimistic,
        }

    def describe(self) -> list[str]:
        """In lines of words."""
        lines = [f"{self.n_images:,} images that neither run was trained on ({self.split} split):"]
        for letter, run, n in zip("AB", self.runs, self._count_right(), strict=True):
            low, high = wilson_interval(n, self.n_images)
            lines.append(f"{letter}  {n / self.n_images:.4f}  (95% {low:.3f}-{high:.3f})  {run}")
        lines += [
            f"Both right {self.both_right:,}, only A {self.only_a_right:,}, only B "
            f"{self.only_b_right:,}, both wrong {self.both_wrong:,}.",
            f"McNemar's exact test: {describe_p_value(self.p_value)}. {self._judge()}",
        ]
        if self.n_other_labels:
            lines.append(
                f"{self.n_other_labels:,} common images were left out: they have another label in "
                "B."
            )
        return lines

    def _judge(self) -> str:
        if self.p_value >= SIGNIFICANT:
            return "The difference may be chance."
        better = "A" if self.only_a_right > self.only_b_right else "B"
        flatters = " (Validation chose something, which flatters.)"
        return f"{better} is better.{flatters * self.is_optimistic}"

    def _count_right(self) -> tuple[int, int]:
        return self.both_right + self.only_a_right, self.both_right + self.only_b_right


_Judged = dict[bytes, tuple[int, str, bool]]  # by digest: split, label, whether the run is right


@dataclass(frozen=True)
class MatchedRuns:
    """The images that two runs can be compared on.

    Args:
        runs: the two folders.
        split: `test`, or `val` where the images are not in the test split of both.
        digests: of the images, each different.
        is_right: bool `(n_images, 2)`, whether A and B are.
        n_other_labels: common images that were left out since they have another label in B.
    """

    runs: tuple[str, str]
    split: str
    digests: list[bytes]
    is_right: np.ndarray
    n_other_labels: int


def compare_runs(a: Run | str | Path, b: Run | str | Path) -> RunComparison:
    """Compares two runs on the images that both have and that trained neither.

    On the images that are in the test split of both, where there are some; else on those in the
    validation or test splits. Images with equal bytes count once.

    Args:
        a, b: runs, or their folders.

    Raises:
        RunError: there is no such run, it is damaged, or they have no such images.
    """
    first, second = (run if isinstance(run, Run) else open_run(run) for run in (a, b))
    return count_matched(match_runs(first, second))


def match_runs(a: Run, b: Run) -> MatchedRuns:
    """Looks for the images that `compare_runs` compares two runs on.

    Raises:
        RunError: a run is damaged, or they have no such images.
    """
    first, second = _judge(a), _judge(b)
    common = [
        (digest, split, second[digest][0])
        for digest, (split, _, _) in first.items()
        if digest in second
    ]
    test = SPLITS.index("test")
    tested = [one for one in common if one[1] == one[2] == test]
    chosen = tested or [one for one in common if TRAIN not in one[1:3] and min(one[1:3]) >= 0]
    if not chosen:
        raise RunError(
            "These runs cannot be compared: no image was scored by both. Expected images in the "
            "validation or test split of one and the other. Received: "
            f"{a.folder} and {b.folder}, with {len(common):,} images in common\n"
            "Fit both on feature files of the same images, with the same `seed` and fractions."
        )
    digests = [digest for digest, *_ in chosen if first[digest][1] == second[digest][1]]
    if not digests:
        raise RunError(
            f"These runs cannot be compared: the labels of all {len(chosen):,} common images "
            f"differ. Received: {a.folder} and {b.folder}"
        )
    return MatchedRuns(
        runs=(str(a.folder), str(b.folder)),
        split="test" if tested else "val",
        digests=digests,
        is_right=np.array([(first[one][2], second[one][2]) for one in digests], bool),
        n_other_labels=len(chosen) - len(digests),
    )


def count_matched(matched: MatchedRuns) -> RunComparison:
    """How many images which of the two has right, and whether that can be chance."""
    is_right = matched.is_right
    only_a = int((is_right[:, 0] & ~is_right[:, 1]).sum())
    only_b = int((~is_right[:, 0] & is_right[:, 1]).sum())
    return RunComparison(
        runs=matched.runs,
        split=matched.split,
        n_images=len(is_right),
        both_right=int(is_right.all(axis=1).sum()),
        only_a_right=only_a,
        only_b_right=only_b,
        both_wrong=int((~is_right.any(axis=1)).sum()),
        p_value=mcnemar_p_value(only_a, only_b),
        n_other_labels=matched.n_other_labels,
    )


def _judge(run: Run) -> _Judged:
    predictions = read_predictions(run)
    digests = read_digests(run, len(predictions.paths))
    if digests is None:
        raise RunError(
            "This run does not say which images it is of: it was made before runs did. "
            f"Received: {run.folder}\nMake it again."
        )
    called = predictions.probabilities.argmax(axis=1)
    return {
        digests[row].tobytes(): (
            int(predictions.splits[row]),
            run.class_names[label],
            bool(called[row] == label),
        )
        for row, label in enumerate(predictions.labels.tolist())
        if label >= 0
    }
