"""A whole manifest.json as version 1 of the format had it, to be changed and damaged."""

import copy

_SCORES = {
    "n_samples": 20,
    "accuracy": 0.9,
    "accuracy_interval": [0.7, 0.97],
    "balanced_accuracy": 0.9,
    "macro_f1": 0.9,
    "log_loss": 0.5,
    "per_class": [
        {"name": name, "n_samples": 10, "precision": 0.9, "recall": 0.9, "f1": 0.9}
        for name in ("daisy", "rose")
    ],
    "confusion_matrix": [[9, 1], [1, 9]],
}
_MANIFEST = {
    "format": "frostline-run",
    "version": 1,
    "kind": "logreg",
    "created": "2026-11-24T20:01:00+00:00",
    "class_names": ["daisy", "rose"],
    "recipe": {
        "backbone": "efficientnet-lite0",
        "weights": "random:0",
        "image_size": 224,
        "resize": "stretch",
        "background": [255, 255, 255],
        "decoder_version": 2,
        "channel_order": "RGB",
        "scale": [0.0078125, 0.0078125, 0.0078125],
        "offset": [-0.9921875, -0.9921875, -0.9921875],
        "layer": "top",
        "pooling": "avg",
        "precision": "float32",
        "truncated": "skip",
    },
    "recipe_id": "0" * 64,
    "weights_source": "random",
    "features_file": "/cache/flowers.h5",
    "features_file_seal": "1" * 64,
    "features_sha256": "2" * 64,
    "features_batch_size": 1,
    "data_root": "/data/flowers",
    "splits": {
        "seed": 0,
        "val_fraction": 0.2,
        "test_fraction": 0.0,
        "group_by": None,
        "n_groups": None,
        "given": [],
        "n_images": {"train": 80, "val": 20, "test": 0},
    },
    "equal_images": {"all": [], "different_labels": [], "different_given_splits": []},
    "parameters": {"head": "logreg", "C": None, "class_weight": None, "seed": 0},
    "chosen": "C = 1",
    "chosen_by": "val",
    "history": {"x": "C", "best": 1.0},
    "metrics": {"val": _SCORES},
    "seconds": {"read": 0.1, "fit": 0.2, "total": 0.4},
    "notes": [],
    "software": {"frostline": "0.1.0"},
    "git_commit": None,
}


def make_manifest() -> dict:
    """The values of a manifest, to do with as one likes."""
    return copy.deepcopy(_MANIFEST)


def make_scores(**changes) -> dict:
    """The scores of one split."""
    return {**copy.deepcopy(_SCORES), **changes}
