"""A run's model, opened and proven: the engine that suits it, and the parity check on first use."""

import json
import os
from contextlib import suppress
from functools import partial

from pipeline.backbones.engines.device import require_device_name
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import find_device
from pipeline.classifier.model import Classifier
from pipeline.classifier.parity import Parity, Rebuilt, check_parity
from pipeline.classifier.parts import load_parts
from pipeline.errors import ParameterError, RunError, StorageError
from pipeline.heads.saved_head import require_model
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.recipe import EngineRecord
from pipeline.runs.run_folder import Run, describe_software, open_run
from pipeline.system.atomic_files import write_json
from pipeline.system.paths import as_path, open_regular_file

_MARKER_BYTES = 2**16  # more than the parity check ever leaves


def load_run(
    run: Run | str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    *,
    engine: str | None = None,
    network_store: bool = True,
    is_alone: bool = False,
    n_images: int = 1,
) -> Classifier:
    """Loads the model of a run, and checks that it is the one that the run recorded.

    Args:
        run: a run or its folder.
        weights: where the backbone's weights lie now, None for where they came from.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for the one that made the run's features, where these
            were made on a device of the kind, and else what suits the device.
        network_store: keep the converted network for the next time, and take it from there.
        is_alone: this process does nothing but predict, so TensorFlow's threads may be set up for
            that for good.
        n_images: that it is to take at once, at first: on a GPU a few are computed by a network
            of small batches, many by one of large batches; what is not opened now is when it is
            needed, which takes seconds.

    Returns:
        The `Classifier`.

    Raises:
        RunError, HeadError, WeightsError: the model cannot be rebuilt.
        ParityError: it is not the model that the run recorded (checked on first use).
        DeviceError: the device is not there.
        EngineError: no such engine, or it cannot run the network.
    """
    require_device_name(device)
    opened, _ = open_either(run)
    made_by = _find_engines_of_features(opened)
    of_gpus = [record.name for record in made_by if record.is_gpu]
    chosen = find_device(device, engine, of_gpus[0] if of_gpus else None)
    preferred = [record.name if record.device == chosen.kind else None for record in made_by]
    store = NetworkStore() if network_store else None
    source = None if weights is None else str(weights)
    networks, head = load_parts(opened, source, store)
    classifier = Classifier(
        *(opened, networks, head, chosen, engine),
        preferred=preferred,
        is_alone=is_alone,
        weights=source,
    )
    classifier.open_engines(n_images)  # now, so that the first prediction is as quick as any
    classifier.notes += _check_parity_once(classifier)
    return classifier


def open_either(
    run: Run | Classifier | str | os.PathLike[str],
) -> tuple[Run, Classifier | None]:
    """A run, and its model where that is loaded already.

    Raises:
        RunError: there is no run, nothing to rebuild its model from, or it averages over views that
            this Frostline does not make.
    """
    if isinstance(run, Classifier):
        return run.run, run
    opened = run if isinstance(run, Run) else open_run(as_path(run, "run"))
    require_model(opened)
    _require_known_views(opened)
    return opened, None


def require_defaults(weights: object, device: str, engine: str | None) -> None:
    """A model that is loaded has its weights, its device and its engine already.

    Raises:
        ParameterError: others are asked for.
    """
    for name, value, default in (
        ("weights", weights, None),
        ("device", device, "auto"),
        ("engine", engine, None),
    ):
        if value != default:
            raise ParameterError(
                f"This model is loaded already. Expected no `{name}`. Received: {value}\n"
                f"Give `{name}` to `frostline.load`.",
                name,
            )


def _require_known_views(run: Run) -> None:
    """Raises a RunError for a run that averages over views where others would be made now."""
    views = run.manifest.tta
    if views is not None and views.version != AUGMENTATION_VERSION:
        raise RunError(
            "This run averages over views that are made otherwise now. Expected version "
            f"{AUGMENTATION_VERSION} of the augmentation. Received: version {views.version}, in "
            f"{run.folder}\nExtract the views again and fit the head anew, or use the version of "
            "Frostline that wrote the run."
        )


def _find_engines_of_features(run: Run) -> list[EngineRecord]:
    """What made the features of each backbone.

    Two engines agree to rounding, so the head is best given rows of the one that it was fitted
    on. A fine-tuned network is another one, of which no feature file was made.
    """
    if run.manifest.is_finetuned:
        return [EngineRecord()]
    return [used.engine for used in run.manifest.backbones]


def _check_parity_once(classifier: Classifier) -> list[str]:
    """The parity check, once per run, device and versions of the software; what it has to say."""
    run, device = classifier.run, classifier.device
    marker = run.folder / "parity.json"
    records = [engine.record for engine in classifier.open_engines(n_images=1)]
    circumstances = {
        "software": describe_software(),
        "device": device.description,
        "engine": ", ".join(map(str, records)),
    }
    unread = suppress(OSError, ValueError, TypeError, KeyError, RecursionError)
    with unread, open_regular_file(marker) as file:
        if json.loads(file.read(_MARKER_BYTES))["circumstances"] == circumstances:
            return []
    rebuilt = [
        Rebuilt(partial(classifier.embed, place=place), record)
        for place, record in enumerate(records)
    ]
    found: Parity = check_parity(run, rebuilt, classifier.head.predict_proba)
    with suppress(StorageError):  # a run that may not be written is checked every time
        write_json(
            marker, {"circumstances": circumstances, "greatest_difference": found.difference}
        )
    return found.notes
