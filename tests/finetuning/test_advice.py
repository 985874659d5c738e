"""Each rule of the advice fires on curves that have its fault, on no others, and not on noise."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetuning.advice import Setting, advise_on_comparison, advise_on_curves
from pipeline.finetuning.curves import Curves
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.outlook import advise_on_images
from pipeline.finetuning.verdict import describe_next_step
from pipeline.heads.forecast.forecast import Accuracy, Forecast
from pipeline.runs.significance import Comparison, mcnemar_p_value

SETTING = Setting(FinetuneOptions(epochs=8), "block7a", "block5c")
N_SEEDS = 10


@dataclass(frozen=True)
class Plant:
    """A fine-tuning as it would be with endless images; `grow` draws those that there are.

    Args:
        train, val: accuracies of each epoch, 0 first.
        train_loss, val_loss: nats, likewise.
        kept: accuracy of the kept model on training images; None = of the last epoch.
        churn: share of validation images whose answer is another in each epoch, by chance.
    """

    train: list[float]
    val: list[float]
    train_loss: list[float]
    val_loss: list[float]
    n_train: int = 1200
    n_val: int = 600
    kept: float | None = None
    n_divergences: int = 0
    learning_rate: float = 3e-4
    churn: float = 0.01

    def grow(self, seed: int) -> Curves:
        random = np.random.default_rng(seed)
        skill = random.random(self.n_val)
        records = []
        for epoch, level in enumerate(self.val):
            is_right = skill < level
            is_right ^= random.random(self.n_val) < self.churn
            train, noise = self.train[epoch], 1 + 0.02 * random.normal(size=2)
            records.append(
                {
                    "epoch": epoch,
                    "train_loss": self.train_loss[epoch] * noise[0],
                    "train_accuracy": random.binomial(self.n_train, train) / self.n_train,
                    "val_loss": self.val_loss[epoch] * noise[1],
                    "val_accuracy": float(is_right.mean()),
                }
            )
        frozen = records[0]
        ahead = [
            one
            for one in records
            if one["val_accuracy"] >= frozen["val_accuracy"]
            and one["val_loss"] < frozen["val_loss"]
        ]
        best = min(ahead, key=lambda one: one["val_loss"])["epoch"] if ahead else 0
        kept = self.train[best] if self.kept is None else self.kept
        return Curves(
            history=records,
            best_epoch=best,
            n_train=self.n_train,
            n_val=self.n_val,
            train_accuracy=random.binomial(self.n_train, kept) / self.n_train,
            val_loss_error=2 * frozen["val_loss"] / self.n_val**0.5,
            learning_rate=self.learning_rate,
            n_divergences=self.n_divergences,
        )


def approach(start, end, pace, n_epochs=8):
    """From one value to another, by a factor of e in each `pace` epochs."""
    return [end + (start - end) * float(np.exp(-epoch / pace)) for epoch in range(n_epochs + 1)]


HEALTHY = Plant(
    train=approach(0.95, 0.985, 2),
    val=approach(0.93, 0.965, 2),
    train_loss=approach(0.18, 0.06, 2),
    val_loss=approach(0.22, 0.12, 2),
)
ZIGZAG = [0.95, *(4 * [0.93, 0.8])]
PLANTS = {
    "diverged": (replace(HEALTHY, n_divergences=2), "the learning rate is too high"),
    "falls": (replace(HEALTHY, train=ZIGZAG), "the learning rate is too high"),
    "damage": (
        replace(
            HEALTHY,
            train=[0.95, *approach(0.6, 0.97, 3, 7)],
            train_loss=[0.18, *approach(1.5, 0.1, 2, 7)],
            val=[0.93, *approach(0.55, 0.8, 3, 7)],
            val_loss=[0.22, *approach(1.6, 0.6, 2, 7)],
        ),
        "the learning rate is too high",
    ),
    "shaken": (
        replace(HEALTHY, val=[0.93, *(4 * [0.97, 0.85])]),
        "the learning rate is too high",
    ),
    "turn": (
        replace(HEALTHY, val_loss=[0.22, 0.16, 0.13, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3]),
        "it overfits",
    ),
    "gap": (
        replace(HEALTHY, train=approach(0.95, 1, 2), val=approach(0.82, 0.87, 2)),
        "it overfits",
    ),
    "still": (
        replace(
            HEALTHY,
            train=9 * [0.8],
            val=9 * [0.79],
            train_loss=approach(0.6, 0.585, 4),
            val_loss=approach(0.62, 0.6, 4),
            learning_rate=1e-6,
        ),
        "the learning rate is too low",
    ),
    "unfinished": (
        replace(
            HEALTHY,
            train=approach(0.7, 0.97, 8),
            val=approach(0.69, 0.94, 8),
            train_loss=approach(0.9, 0.02, 6),
            val_loss=approach(0.95, 0.05, 6),
        ),
        "it ended before it was done",
    ),
    "too stiff": (
        replace(
            HEALTHY,
            train=approach(0.75, 0.82, 1),
            val=approach(0.74, 0.81, 1),
            train_loss=approach(0.7, 0.5, 1),
            val_loss=approach(0.72, 0.52, 1),
        ),
        "it underfits",
    ),
    "few to judge": (replace(HEALTHY, n_val=60, churn=0.04), "validation is too small"),
}


def find(plant, seed=0, setting=SETTING):
    return [one.finding for one in advise_on_curves(plant.grow(seed), setting)]


@pytest.mark.parametrize("name", PLANTS)
def test_a_rule_fires_on_its_plant_and_no_other_does(name):
    plant, finding = PLANTS[name]
    found = [find(plant, seed) for seed in range(N_SEEDS)]
    # Of few images chance alone now and then hides the jumps; nothing else is ever found.
    assert [finding] in found
    assert {one for each in found for one in each} == {finding}
    least = 0.6 if name == "few to judge" else 1
    assert found.count([finding]) >= least * N_SEEDS


@st.composite
def healthy_plants(draw):
    """Runs that learn to their end, at their own pace, with a small gap and enough images."""
    start = draw(st.floats(0.9, 0.97))
    end = min(0.995, start + draw(st.floats(0, 0.04)))
    gap = draw(st.floats(0, 0.02))
    pace = draw(st.floats(0.7, 2))
    loss, share = draw(st.floats(0.1, 0.4)), draw(st.floats(0.4, 0.95))
    n_epochs = draw(st.integers(math.ceil(4 * pace), 12))
    return replace(
        HEALTHY,
        train=[min(0.999, value + gap) for value in approach(start, end, pace, n_epochs)],
        val=approach(start, end, pace, n_epochs),
        train_loss=approach(loss, loss * share * 0.8, pace, n_epochs),
        val_loss=approach(loss * 1.1, loss * share, pace, n_epochs),
        n_train=draw(st.integers(500, 20_000)),
        n_val=draw(st.integers(400, 5_000)),
        churn=draw(st.floats(0, 0.02)),
    )


@given(healthy_plants(), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_noise_on_a_healthy_run_is_no_finding(plant, seed):
    setting = replace(SETTING, options=FinetuneOptions(epochs=len(plant.train) - 1))
    found = [find(plant, [seed, number], setting) for number in range(12)]
    assert sum(map(bool, found)) <= 1


@given(st.floats(0.02, 0.1), st.integers(40, 120))
@settings(max_examples=50, deadline=None)
def test_the_number_of_validation_images_that_would_do_is_by_the_square_of_the_jumps(churn, n_val):
    """Of an epoch's accuracy the standard deviation is `sqrt(churn (1 - churn) / n)`."""
    many = replace(HEALTHY, val=200 * [0.9], train=200 * [0.95], n_val=n_val, churn=churn)
    many = replace(many, train_loss=200 * [0.1], val_loss=200 * [0.1])
    jitter = many.grow(1).jitter()
    assert jitter == pytest.approx((churn * (1 - churn) / n_val) ** 0.5, rel=0.35)


def test_what_is_advised_was_not_tried_and_is_there():
    def advise(name, setting=SETTING, **options):
        tried = replace(setting, options=FinetuneOptions(**{"epochs": 8, **options}))
        return describe_next_step(advise_on_curves(PLANTS[name][0].grow(0), tried), 1)

    assert "try `learning_rate=0.0001` or `find_learning_rate=True`." in advise("diverged")
    said = advise("diverged", find_learning_rate=True)
    assert said.endswith("try `learning_rate=0.0001` without `find_learning_rate=True`.")
    assert "try `augment='strong'`, `unfreeze='block7a'` or more" in advise("gap")
    said = advise("gap", average_weights=0.0)
    assert "try `augment='strong'`, `average_weights=0.95`, `unfreeze='block7a'` or more" in said
    said = advise("gap", augment="strong", average_weights=0.9)
    assert said.endswith("try `unfreeze='block7a'` or more training images.")
    assert "`unfreeze='block5c'` or `epochs=16`" in advise("too stiff")
    assert "a larger backbone" in advise("too stiff", replace(SETTING, below=None))
    assert "`learning_rate=3e-06`" in advise("still")
    assert "`epochs=16`" in advise("unfinished")


def test_numbers_that_show_it_stand_in_the_sentence():
    (advice,) = advise_on_curves(PLANTS["gap"][0].grow(0), SETTING)
    right, points = advice.shown.split("% of training images are right, and ")
    assert float(right) == pytest.approx(100, abs=1.5)
    assert float(points.split()[0]) == pytest.approx(13, abs=4)
    assert advice.sentence.startswith("It overfits (")


def test_where_only_the_head_learns_a_loss_that_rests_asks_for_more_blocks():
    """A linear head that was fitted to its end has nowhere to move, at any rate."""
    topmost = replace(SETTING, above=None)
    assert find(PLANTS["still"][0], setting=topmost) == ["it underfits"]


def test_a_run_without_findings_is_told_to_stay_as_it_is():
    assert describe_next_step([], 0).startswith("Next: keep the frozen head")
    assert describe_next_step([], 3).startswith("Next: keep this model")


def compare(became_right, became_wrong, *, split="test"):
    p_value = mcnemar_p_value(became_right, became_wrong)
    return Comparison(split, 200, became_right, became_wrong, p_value, split == "val")


def test_a_test_split_that_is_worse_off_speaks_only_where_that_is_no_chance():
    (advice,) = advise_on_comparison(compare(2, 14))
    assert "14 of 200 test images became wrong and 2 right, p = 0.0042" in advice.sentence
    assert "keeping the frozen head" in advice.sentence
    for comparison in (compare(3, 5), compare(14, 2), compare(2, 14, split="val")):
        assert advise_on_comparison(comparison) == []


def foretell(now, low, mean, high):
    measured = [Accuracy(n, now, now - 0.02, now + 0.02) for n in (100, 400)]
    ahead = [Accuracy(800, mean, low, high)]
    return Forecast(measured, ahead, n_scored=500, is_in_turn=False, C=0.01, n_draws=10)


@pytest.mark.parametrize(
    ("found", "findings"),
    [
        (foretell(0.85, 0.86, 0.88, 0.9), ["more training images would help"]),
        (foretell(0.85, 0.848, 0.88, 0.9), ["more training images would help"]),
        (foretell(0.85, 0.845, 0.852, 0.86), ["more training images would hardly help"]),
        (foretell(0.85, 0.83, 0.87, 0.9), []),  # in one case of six no gain at all
        (foretell(0.98, 0.975, 0.981, 0.985), []),  # hardly an image is wrong
        (None, []),
        (replace(foretell(0.9, 0.9, 0.9, 0.9), ahead=[]), []),
    ],
)
def test_more_images_or_another_backbone_by_the_forecast(found, findings):
    assert [one.finding for one in advise_on_images(found)] == findings


def test_a_forecast_says_for_how_many_images_and_by_how_much():
    (advice,) = advise_on_images(foretell(0.85, 0.86, 0.88, 0.9))
    assert "with 800 in place of 400 +1.0 to +5.0 points, from 85.0%" in advice.sentence
    assert "`frostline.suggest(FEATURES, N)`" in advice.sentence
