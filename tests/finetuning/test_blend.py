"""Whether one more training's weights join the mean of those before it."""

import numpy as np
import pytest

from pipeline.finetuning.blend import Blend, join
from pipeline.finetuning.judge_epochs import score

LABELS = np.arange(8) % 2


def judge_by(losses):
    """A judge that knows the log-loss of each weight, to the whole number."""

    def judge(weights):
        right = np.exp(-losses[float(weights[0])])
        rows = np.where(np.eye(2)[LABELS] == 1, right, 1 - right)
        # As many are wrong as are that unsure, so that no temperature makes them surer.
        rows[: round(8 * (1 - right))] = rows[: round(8 * (1 - right)), ::-1]
        return score(LABELS, rows)

    return judge


@pytest.mark.parametrize(
    ("losses", "weight", "n_trainings", "kept"),
    [
        # of the mean so far, 2; with the last, 4 = (3 * 2 + 10) / 4; of the last alone, 10
        ({2.0: 0.5, 4.0: 0.3, 10.0: 0.4}, 4.0, 4, "new"),
        ({2.0: 0.3, 4.0: 0.5, 10.0: 0.4}, 2.0, 3, "old"),
        ({2.0: 0.5, 4.0: 0.4, 10.0: 0.3}, 10.0, 1, "new"),
        ({2.0: 0.4, 4.0: 0.4, 10.0: 0.4}, 2.0, 3, "old"),
    ],
)
def test_the_best_of_the_mean_with_without_and_the_last_alone_goes_on(
    losses, weight, n_trainings, kept
):
    old, new = [{"epoch": 1}], [{"epoch": 2}]
    judge = judge_by(losses)
    said = {weight: judge([np.array(weight)]).probabilities for weight in losses}
    before, last = (
        Blend([np.array(weight)], n, history, said[weight])
        for weight, n, history in ((2.0, 3, old), (10.0, 1, new))
    )
    joined = join(before, last, LABELS, judge)
    assert np.array_equal(joined.blend.said, said[weight])
    assert float(joined.blend.weights[0]) == weight
    assert joined.blend.n_trainings == n_trainings
    assert joined.blend.history == (new if kept == "new" else old)
    tried = [judge_by(losses)([np.array(weight)]).calibrated_loss for weight in losses]
    assert joined.scores.calibrated_loss == min(tried)
    words = joined.describe()
    assert ("The weights of one training:" in words) == (n_trainings == 1)
    assert f"log-loss {joined.scores.calibrated_loss:.4f} on validation (" in words
