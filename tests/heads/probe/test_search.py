"""The plan of a probe, with a clock that stands still until something is embedded."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.features.extract import make_recipe
from pipeline.heads.probe.candidates import Candidate
from pipeline.heads.probe.judge import Difference, Judge
from pipeline.heads.probe.measured import Measured
from pipeline.heads.probe.probed import Tried, describe_all, recommend
from pipeline.heads.probe.sample import Sample
from pipeline.heads.probe.search import Search

N_IMAGES, N_CLASSES = 200, 3
LABELS = np.arange(N_IMAGES) % N_CLASSES


@dataclass
class World:
    """Backbones, each with how far it sets the classes apart, and what it costs.

    Args:
        apart: by name and image size.
        rate: images a second at 100 pixels.
        open_seconds: to make a network ready.
    """

    apart: dict[tuple[str, int], float]
    rate: float = 100.0
    open_seconds: float = 1.0
    now: float = 0.0

    def __post_init__(self):
        self.longest_batch = 0.0
        firsts: dict[str, int] = {}
        for name, size in self.apart:
            firsts.setdefault(name, size)
        recipe, _ = make_recipe("alexnet", "random")
        self.contenders = [
            Measured(
                Candidate(
                    type(recipe)(**{**vars(recipe), "backbone": name, "image_size": size}),
                    ResolvedWeights("random:0", None, 0, "random"),
                    "imagenet",
                    firsts[name] == size,
                    1e9 * (size / 100) ** 2,
                ),
                Path(f"{name}-{size}.h5"),
            )
            for name, size in self.apart
        ]

    def embed(self, one, n_images, deadline):
        name, size = one.candidate.backbone, one.candidate.image_size
        self.now += self.open_seconds
        one.open_seconds, one.rate = self.open_seconds, self.rate * (100 / size) ** 2
        n = one.n_tried
        while n < n_images and (n == one.n_tried or self.now < deadline):
            n = min(n + 8, n_images)
            self.now += 8 / one.rate
            self.longest_batch = max(self.longest_batch, 8 / one.rate)
        random = np.random.default_rng(crc32(f"{name} {size}".encode()))
        rows = random.normal(size=(N_IMAGES, 30)).astype(np.float32)
        rows[:, :N_CLASSES] += self.apart[name, size] * np.eye(N_CLASSES)[LABELS]
        one.n_tried, one.has_row, one.features = n, np.ones(n, bool), rows[:n]
        one.n_kept = n

    def search(self, seconds):
        units = np.arange(N_IMAGES)
        digests = np.zeros((N_IMAGES, 32), np.uint8)
        self.judge = Judge(Sample(units, digests, LABELS, units, ["a", "b", "c"]))
        Search(
            self.contenders, N_IMAGES, N_CLASSES, self.embed, self.judge, seconds,
            clock=lambda: self.now,
        ).run()  # fmt: skip
        self.tried = describe_all(self.contenders, self.judge, 1000)
        return recommend(self.tried)

    def n_tried(self):
        return {
            (one.candidate.backbone, one.candidate.image_size): one.n_tried
            for one in self.contenders
        }


GOOD = {("good", 100): 2.5, ("good", 80): 1.5, ("good", 120): 4.5}
POOR = {("poor", 100): 0.2, ("poor", 80): 0.1, ("poor", 120): 0.3}


def test_with_time_for_all_the_best_is_found_and_the_hopeless_is_tried_at_one_size():
    world = World({**GOOD, **POOR})
    chosen, reason = world.search(1000)
    assert (chosen.backbone, chosen.image_size) == ("good", 120)
    assert "has the most images right; all others are certainly worse" in reason
    assert [world.n_tried()["poor", size] for size in (80, 100, 120)] == [0, 100, 0]
    assert world.n_tried()["good", 120] == N_IMAGES
    assert [one.problem for one in world.tried if one.accuracy is None] == [
        "there was no time to try it"
    ] * 2


def test_with_little_time_fewer_sizes_are_tried_and_the_time_is_kept():
    alike = dict.fromkeys([("good", size) for size in (100, 80, 120, 140, 160)], 1.5)
    world = World({**alike, **POOR})
    chosen, _ = world.search(8)
    assert chosen.backbone == "good"
    assert 8 * 0.8 <= world.now <= 8 * 1.2
    assert sum(n > 0 for n in world.n_tried().values()) < 6


def line(image_size, points, rate, n_images=300):
    """A candidate that has so many more points than the best."""
    difference = Difference(points / 100, points / 100 - 0.02, points / 100 + 0.02)
    accuracy = 0.9 + points / 100
    return Tried(
        "one", "imagenet", image_size, n_images, accuracy, (0.8, 0.95), difference, rate, 1.0, 1.0
    )


def test_of_those_that_are_as_good_the_quickest_is_recommended():
    best = line(320, 0.0, 10)
    tried = [best, line(256, -0.4, 20), line(288, -0.2, 15), line(160, -0.9, 60)]
    chosen, reason = recommend(tried)
    assert chosen.image_size == 256
    assert "0.5 points below the best (one at 320 pixels): -0.4 points, 2.0 times as fast" in reason
    assert "3 others may be as good" in reason
    few = line(192, 0.0, 50, n_images=100)  # fewer images say too little for that
    assert recommend([*tried, few])[0].image_size == 256
    assert recommend([best, line(160, -3.0, 60)]) == (
        best, "one at 320 pixels has the most images right; all others are certainly worse.",
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    n_backbones=st.integers(1, 4),
    n_sizes=st.integers(1, 5),
    seconds=st.floats(5, 200),
    rate=st.floats(5, 500),
    open_seconds=st.floats(0.1, 6),
)
def test_no_more_time_is_taken_than_for_the_network_and_the_batch_that_run(
    n_backbones, n_sizes, seconds, rate, open_seconds
):
    apart = {
        (f"b{number}", 60 + 40 * size): 1.0 + 0.3 * number
        for number in range(n_backbones)
        for size in range(n_sizes)
    }
    world = World(apart, rate, open_seconds)
    world.search(seconds)
    assert world.now <= seconds + open_seconds + 2 * world.longest_batch
    n_tried = world.n_tried().values()
    assert max(n_tried) > 0
    is_all = all(n == N_IMAGES for n in n_tried)
    one_is_worse = any(one.is_certainly_worse for one in world.tried)
    assert is_all or one_is_worse or world.now >= 0.7 * seconds - open_seconds
