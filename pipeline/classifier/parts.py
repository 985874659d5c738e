"""The halves of a run's model, for prediction: networks that are not built yet, and the head.

Nothing here starts TensorFlow, unless the head can be had in no other way.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.backbones.engines.engine import Network, identify_network
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.recipe_network import describe_network
from pipeline.backbones.tuned_runs import describe_tuned
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import WeightsError
from pipeline.heads.dense.arithmetic import SavedDenseHead, read_arithmetic
from pipeline.heads.head import Head
from pipeline.heads.saved_head import FINETUNED_MODEL, load_head, require_model
from pipeline.recipe import Recipe
from pipeline.runs.binding import require_bound_names
from pipeline.runs.manifest import UsedBackbone
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.paths import sha256_of_file
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def load_parts(
    run: Run, weights: str | None = None, store: NetworkStore | None = None
) -> tuple[list[Network], Head]:
    """The networks from pixels to features, to be opened by an engine, and the head.

    The head takes the features of all of them side by side; mostly there is one.

    Args:
        weights: where the backbone's weights lie now, None for where they came from. Of several
            backbones those take it that were made with it.
        store: of converted networks, None for none.

    Raises:
        RunError: head or model are missing or damaged.
        WeightsError: the weights that were given are others than the run was made with.
    """
    if run.manifest.is_finetuned:
        network, head = _load_finetuned(run, store)
        return [network], head
    head = load_head(run)  # first, since the network takes longer
    sources = _find_sources(run.manifest.backbones, weights)
    networks = [
        describe_network(used.recipe, source, store)
        for used, source in zip(run.manifest.backbones, sources, strict=True)
    ]
    return networks, head


def _find_sources(backbones: list[UsedBackbone], weights: str | None) -> list[str]:
    """Where the weights of each backbone are; those that were given are looked at.

    Without that, it would be noticed only without the store that they are others.
    """
    sources = [used.weights_source for used in backbones]
    if weights is None:
        return sources
    errors = []
    for place, used in enumerate(backbones):
        try:
            resolve_recorded_weights(used.recipe, weights)
        except WeightsError as error:
            errors.append(error)
        else:
            sources[place] = weights
    if len(errors) == len(backbones):
        raise errors[0]
    return sources


def _load_finetuned(run: Run, store: NetworkStore | None) -> tuple[Network, Head]:
    """The head is arithmetic where the run has that; one reading of the model gives both halves."""
    require_model(run)
    require_bound_names(run, [FINETUNED_MODEL])
    path = run.folder / FINETUNED_MODEL
    halves = _FinetunedHalves(run.folder)
    network = Network(
        halves.build_network, identity=identify_finetuned(run.recipe, path), store=store
    )
    arithmetic = read_arithmetic(path)
    if arithmetic is None or arithmetic.n_classes != len(run.class_names):
        return network, halves.build_head()
    return network, SavedDenseHead(arithmetic, halves.build_head)


class _FinetunedHalves:
    """Network and head of a fine-tuned run, from one reading of its model.

    Another process that gets it reads the model itself.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._built: tuple[keras.Model, Head] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_folder": self._folder, "_built": None}

    def build_network(self) -> "keras.Model":
        """From RGB 0..255 to features."""
        return self._build()[0]

    def build_head(self) -> Head:
        """From features to probabilities."""
        return self._build()[1]

    def _build(self) -> "tuple[keras.Model, Head]":
        if self._built is None:
            with no_start_up_talk():
                from pipeline.classifier.build import load_finetuned_parts
            self._built = load_finetuned_parts(open_run(self._folder))
        return self._built


def identify_finetuned(recipe: Recipe, path: Path) -> str:
    """The identity of a fine-tuned network: the one that it has as a backbone of its own.

    Args:
        recipe: of the run.
        path: of its model.
    """
    return name_finetuned(recipe, sha256_of_file(path))


def name_finetuned(recipe: Recipe, model_sha256: str) -> str:
    """`identify_finetuned` of a file of that sha256."""
    return identify_network(describe_tuned(recipe, model_sha256))
