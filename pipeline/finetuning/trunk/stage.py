"""Decides on the trunk cache, fills it, and gives training its inputs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from pipeline.backbones.frost_lines import find_frost_lines, split_at
from pipeline.errors import FrostlineError, StorageError
from pipeline.features.extract import CACHE_FOLDER
from pipeline.finetuning.folded import fold
from pipeline.finetuning.inputs import TrunkInputs
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.trunk.cache import Trunk, TrunkCache
from pipeline.finetuning.trunk.job import TrunkJob
from pipeline.finetuning.trunk.plan import TrunkPlan, plan_trunk_cache
from pipeline.finetuning.trunk.worker import TrunkWorker
from pipeline.images.augmentation.augment import Augmentation
from pipeline.images.dataset import shorten_name
from pipeline.images.splits import TRAIN, VAL
from pipeline.recipe import PRECISIONS, keras_policy
from pipeline.runs.records import read_probes
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.paths import sha256_of_file

TRUNK_FOLDER = CACHE_FOLDER / "trunk"


@dataclass(frozen=True)
class TrunkStage:
    """What the trunk cache needs to know of a fine-tuning.

    Args:
        device: as on the command line.
        model: the classifier.
        line: the frost line.
        judges_training_images: these are wanted as they are, too, since some of them judge in turn.
        is_one_cpu: training runs on one CPU, and so in its way.
    """

    parent: Parent
    options: FinetuneOptions
    device: str
    model: keras.Model
    line: str
    judges_training_images: bool = False
    is_one_cpu: bool = False

    def open_inputs(
        self,
        wanted: bool | None,
        on_progress: Callable[[str, int, int], None],
        on_note: Callable[[str], None],
    ) -> TrunkInputs | None:
        """The trunk cache, filled; None where it is not to be used.

        Args:
            wanted: None = where it saves time and there is room.

        Raises:
            FrostlineError: it was asked for and cannot be had.
        """
        obstacle = find_obstacle(self.model, self.line)
        if wanted is False or (wanted is None and obstacle):
            return None
        if obstacle:
            raise FrostlineError(
                f"There can be no trunk cache: {obstacle}. Leave `trunk_cache=True` out."
            )
        used = np.isin(self.parent.before.splits, (TRAIN, VAL))
        trunk_seconds = self._time_trunk()
        n_passes = self.options.epochs * int(used.sum())
        job = self._make_job()
        plan, notes = plan_trunk_cache(job, trunk_seconds, n_passes)
        for note in notes:
            on_note(note)
        try:
            if not self._fill(job, plan, wanted, on_progress, on_note):
                return None
        except FrostlineError as error:
            if wanted:
                raise
            on_note(f"Going on without a trunk cache: {error}")
            return None
        n_views = self.options.views if self.options.is_augmented else 0
        cache = TrunkCache(job.target, job.trunk)
        return TrunkInputs(
            cache, self.parent.digests, n_views, self.options.seed, self._make_augmentation()
        )

    def _make_augmentation(self) -> Augmentation:
        options = self.options
        return Augmentation(options.augment, flip=bool(options.flip), seed=options.seed)

    def _fill(
        self,
        job: TrunkJob,
        plan: TrunkPlan,
        wanted: bool | None,
        on_progress: Callable[[str, int, int], None],
        on_note: Callable[[str], None],
    ) -> bool:
        """Fills the cache; False where it is not to be used, which is said."""
        needs_measuring = plan.n_missing and plan.has_room and (wanted or plan.is_worth_it)
        if not needs_measuring and not self._decide(wanted, plan, on_note):
            return False
        started = time.perf_counter()
        with TrunkWorker(job) as worker:
            if needs_measuring:
                plan = plan.with_pace(worker.measure())
                if not self._decide(wanted, plan, on_note):
                    return False
            for note in worker.fill(on_progress):
                on_note(note)
        if plan.n_missing:
            on_note(f"The trunk cache took {time.perf_counter() - started:,.0f} s.")
        return True

    def _decide(self, wanted: bool | None, plan: TrunkPlan, on_note: Callable[[str], None]) -> bool:
        if not plan.has_room:
            text = (
                f"Not enough room for the trunk cache {plan.target}. Expected twice "
                f"{plan.bytes / 1e9:.2f} GB free. Received: {plan.free / 1e9:.2f} GB"
            )
            if wanted:
                raise StorageError(f"{text}\nMake room, lower `views`, or say `trunk_cache=False`.")
            on_note(f"{text}. Training goes without it.")
            return False
        is_used = bool(wanted) or plan.is_worth_it
        on_note(f"Trunk cache {'used' if is_used else 'not used'}: {plan.describe()}.")
        return is_used

    def _time_trunk(self) -> float:
        """Seconds for one image, in a graph as training runs it."""
        pixels = tf.constant(read_probes(self.parent.run).pixels, tf.float32)
        preprocessing = self.model.get_layer("preprocessing")
        trunk, _ = split_at(self.model.get_layer("backbone"), self.line)
        trunk = fold(trunk) if self.is_one_cpu else trunk
        run = tf.function(lambda images: trunk(preprocessing(images), training=False))
        run(pixels).numpy()  # traced and warm; `numpy` waits for a GPU to be done
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            run(pixels).numpy()
            seconds.append(time.perf_counter() - started)
        return min(seconds) / len(pixels)

    @property
    def _precision(self) -> str:
        """Of what is cached: on a CPU that of training, else float32, whatever features were in."""
        precision = keras_policy(PRECISIONS[self.options.precision])
        return precision if self.is_one_cpu else "float32"

    def _make_job(self) -> TrunkJob:
        parent, options = self.parent, self.options
        recipe, saved = parent.run.recipe, parent.run.folder / "model.keras"
        lines = {line.name: line for line in find_frost_lines(self.model.get_layer("backbone"))}
        trunk = Trunk(
            recipe_id=replace(recipe, precision=self._precision).id,
            model_sha256=sha256_of_file(saved) if saved.is_file() else "",
            line=self.line,
            shape=lines[self.line].shape,
            augmentation=self._make_augmentation().id if options.is_augmented else "",
        )
        data = shorten_name(parent.root.resolve().name)
        name = f"{data}-{recipe.backbone_in_file_names}-{self.line}"
        train_views = list(range(1, options.views + 1)) if options.is_augmented else [0]
        if self.judges_training_images:
            train_views = sorted({0, *train_views})
        views_of = {TRAIN: train_views, VAL: [0]}
        return TrunkJob(
            target=TRUNK_FOLDER / f"{name}-{trunk.id[:8]}.h5",
            trunk=trunk,
            run=parent.run,
            weights=parent.weights,
            precision=self._precision,
            device=self.device,
            preset=options.augment,
            flip=bool(options.flip),
            seed=options.seed,
            paths=[path.absolute() for path in parent.paths],
            digests=parent.digests,
            views=[views_of.get(int(split), []) for split in parent.before.splits],
        )


def find_obstacle(model: keras.Model, line: str) -> str:
    """Why there can be no trunk cache; empty where there can.

    Args:
        model: the classifier.
        line: the frost line.
    """
    lowest = find_frost_lines(model.get_layer("backbone"))[-1].name
    return "nothing lies below the frost line" if line in {"all", lowest} else ""
