"""Frostline as a library: freeze a backbone once, keep what it sees, try heads in seconds.

    import frostline

    features = frostline.extract("photos", backbone="efficientnet-lite0")
    X, y, split = features.arrays()
    fit = frostline.fit(X, y, split=split, head="logreg")  # pure: writes nothing
    run = frostline.fit_head(features, head="dense")  # writes a run
    tuned = frostline.finetune(run)
    model = frostline.load(tuned)  # loaded once, used often
    model.predict(["a.jpg", b"...the bytes of a file...", pillow_image, rgb_array])

Each function is a command of the same name, less the printing. Paths are `str` or `Path`; what one
function returns the next one takes. What can be wrong is raised as a `FrostlineError`. Importing
this costs nothing and changes nothing; docs/library.md tells more.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; a test compares it with _PLACES
    from pipeline.backbones.engines.network_store import (
        StoredNetwork,
        clear_networks,
        list_networks,
    )
    from pipeline.backbones.registry import list_backbones
    from pipeline.classifier.evaluation.evaluate import evaluate
    from pipeline.classifier.evaluation.evaluation import Evaluation
    from pipeline.classifier.export.export import Exported, export
    from pipeline.classifier.frozen_features import FrozenFeatures
    from pipeline.classifier.load import load_run as load
    from pipeline.classifier.model import Classifier
    from pipeline.classifier.predict import predict
    from pipeline.classifier.prediction import Prediction
    from pipeline.classifier.serving.serve import serve
    from pipeline.errors import (
        BackboneError,
        BackendError,
        ClassWeightError,
        ClusterError,
        DatasetError,
        DeviceError,
        EngineError,
        ExportError,
        FeatureFileError,
        FrostlineError,
        HeadError,
        ImageError,
        LockedError,
        MissingExtraError,
        OutOfMemoryError,
        ParameterError,
        ParityError,
        PromiseError,
        RunError,
        ServiceError,
        SplitError,
        StorageError,
        TrackingError,
        WeightsError,
    )
    from pipeline.features.extract import extract
    from pipeline.features.opened_file import Extraction, Features, list_features
    from pipeline.features.opened_file import open_features as features
    from pipeline.features.parquet import to_parquet
    from pipeline.features.spread.merge import merge
    from pipeline.features.verify import recompute
    from pipeline.finetuning.finetune import FinetuneResult, finetune
    from pipeline.heads.few_images.shots import Shots, fit_shots
    from pipeline.heads.few_images.suggest import Suggestion, suggest
    from pipeline.heads.fit import Fit, fit
    from pipeline.heads.fit_head import FitResult, fit_head
    from pipeline.heads.forecast.forecast import Forecast, forecast_accuracy
    from pipeline.heads.forecast.of_run import forecast
    from pipeline.heads.probe.probe import probe
    from pipeline.heads.probe.probed import Probe
    from pipeline.heads.ridge.leave_one_out import LeaveOneOut, leave_one_out
    from pipeline.heads.sweep.sweep_heads import Sweep, sweep_heads
    from pipeline.images.fetch import Fetched, fetch
    from pipeline.report.report import Report, report
    from pipeline.report.write_audit import AuditResult, audit
    from pipeline.runs.compare import RunComparison, compare_runs
    from pipeline.runs.listing import list_runs
    from pipeline.runs.run_folder import Run, open_run
    from pipeline.runs.tracking.log import MlflowRun, log_to_mlflow

# Public name -> where it lies; imported when it is first used.
_PLACES = {
    "audit": "pipeline.report.write_audit:audit",
    "clear_networks": "pipeline.backbones.engines.network_store:clear_networks",
    "compare_runs": "pipeline.runs.compare:compare_runs",
    "evaluate": "pipeline.classifier.evaluation.evaluate:evaluate",
    "export": "pipeline.classifier.export.export:export",
    "extract": "pipeline.features.extract:extract",
    "features": "pipeline.features.opened_file:open_features",
    "fetch": "pipeline.images.fetch:fetch",
    "finetune": "pipeline.finetuning.finetune:finetune",
    "fit": "pipeline.heads.fit:fit",
    "fit_head": "pipeline.heads.fit_head:fit_head",
    "fit_shots": "pipeline.heads.few_images.shots:fit_shots",
    "forecast": "pipeline.heads.forecast.of_run:forecast",
    "forecast_accuracy": "pipeline.heads.forecast.forecast:forecast_accuracy",
    "leave_one_out": "pipeline.heads.ridge.leave_one_out:leave_one_out",
    "list_backbones": "pipeline.backbones.registry:list_backbones",
    "list_features": "pipeline.features.opened_file:list_features",
    "list_networks": "pipeline.backbones.engines.network_store:list_networks",
    "list_runs": "pipeline.runs.listing:list_runs",
    "load": "pipeline.classifier.load:load_run",
    "log_to_mlflow": "pipeline.runs.tracking.log:log_to_mlflow",
    "merge": "pipeline.features.spread.merge:merge",
    "predict": "pipeline.classifier.predict:predict",
    "probe": "pipeline.heads.probe.probe:probe",
    "recompute": "pipeline.features.verify:recompute",
    "report": "pipeline.report.report:report",
    "sweep_heads": "pipeline.heads.sweep.sweep_heads:sweep_heads",
    "serve": "pipeline.classifier.serving.serve:serve",
    "suggest": "pipeline.heads.few_images.suggest:suggest",
    "open_run": "pipeline.runs.run_folder:open_run",
    "to_parquet": "pipeline.features.parquet:to_parquet",
    "AuditResult": "pipeline.report.write_audit:AuditResult",
    "Classifier": "pipeline.classifier.model:Classifier",
    "Evaluation": "pipeline.classifier.evaluation.evaluation:Evaluation",
    "Exported": "pipeline.classifier.export.export:Exported",
    "Extraction": "pipeline.features.opened_file:Extraction",
    "Features": "pipeline.features.opened_file:Features",
    "Fetched": "pipeline.images.fetch:Fetched",
    "FinetuneResult": "pipeline.finetuning.finetune:FinetuneResult",
    "Fit": "pipeline.heads.fit:Fit",
    "FitResult": "pipeline.heads.fit_head:FitResult",
    "Forecast": "pipeline.heads.forecast.forecast:Forecast",
    "FrozenFeatures": "pipeline.classifier.frozen_features:FrozenFeatures",
    "LeaveOneOut": "pipeline.heads.ridge.leave_one_out:LeaveOneOut",
    "MlflowRun": "pipeline.runs.tracking.log:MlflowRun",
    "Prediction": "pipeline.classifier.prediction:Prediction",
    "Probe": "pipeline.heads.probe.probed:Probe",
    "Report": "pipeline.report.report:Report",
    "Run": "pipeline.runs.run_folder:Run",
    "StoredNetwork": "pipeline.backbones.engines.network_store:StoredNetwork",
    "RunComparison": "pipeline.runs.compare:RunComparison",
    "Shots": "pipeline.heads.few_images.shots:Shots",
    "Sweep": "pipeline.heads.sweep.sweep_heads:Sweep",
    "Suggestion": "pipeline.heads.few_images.suggest:Suggestion",
    "BackboneError": "pipeline.errors:BackboneError",
    "BackendError": "pipeline.errors:BackendError",
    "ClassWeightError": "pipeline.errors:ClassWeightError",
    "ClusterError": "pipeline.errors:ClusterError",
    "DatasetError": "pipeline.errors:DatasetError",
    "DeviceError": "pipeline.errors:DeviceError",
    "EngineError": "pipeline.errors:EngineError",
    "ExportError": "pipeline.errors:ExportError",
    "FeatureFileError": "pipeline.errors:FeatureFileError",
    "FrostlineError": "pipeline.errors:FrostlineError",
    "HeadError": "pipeline.errors:HeadError",
    "ImageError": "pipeline.errors:ImageError",
    "LockedError": "pipeline.errors:LockedError",
    "MissingExtraError": "pipeline.errors:MissingExtraError",
    "OutOfMemoryError": "pipeline.errors:OutOfMemoryError",
    "ParameterError": "pipeline.errors:ParameterError",
    "ParityError": "pipeline.errors:ParityError",
    "PromiseError": "pipeline.errors:PromiseError",
    "RunError": "pipeline.errors:RunError",
    "ServiceError": "pipeline.errors:ServiceError",
    "SplitError": "pipeline.errors:SplitError",
    "StorageError": "pipeline.errors:StorageError",
    "TrackingError": "pipeline.errors:TrackingError",
    "WeightsError": "pipeline.errors:WeightsError",
}
# What MLflow asks a model's `loader_module` for, which of a run's is this module.
_FOR_MLFLOW = {"_load_pyfunc": "pipeline.classifier.mlflow_model:load_pyfunc"}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("frostline")
    place = _PLACES.get(name) or _FOR_MLFLOW.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__version__"})
