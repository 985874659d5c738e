"""The report as a page: one HTML file that opens from a disk and on a phone, in light and dark."""

from typing import Any

from pipeline.report.contents import FeatureMap, ReportContents
from pipeline.report.image_columns import to_columns
from pipeline.report.page_frame import fill_page

_STYLES = ("base", "images", "report")
_SCRIPTS = (
    *("page", "tip", "thumbnails", "pager", "dialogs", "colours", "scores", "mistakes", "matrix"),
    *("class_table", "plot", "calibration", "lasso", "map", "findings", "several_runs", "report"),
)
_MAP_DIGITS = 4  # a tenth of a pixel of a map that is 1,000 pixels wide


def draw_report_page(contents: ReportContents) -> str:
    """The report, HTML.

    Args:
        contents: all that it says; names in it may be anything.
    """
    data: dict[str, Any] = {
        "class_names": contents.class_names,
        "images": to_columns(contents.images),
        "sheets": contents.sheets,
        "runs": contents.runs,
        "feature_map": contents.feature_map and _round_map(contents.feature_map),
        "findings": contents.findings,
        "comparisons": contents.comparisons,
    }
    return fill_page("report.html.j2", contents, data, _STYLES, _SCRIPTS)


def _round_map(feature_map: FeatureMap) -> dict[str, Any]:
    return {
        "images": feature_map.images,
        "x": [round(x, _MAP_DIGITS) for x in feature_map.x],
        "y": [round(y, _MAP_DIGITS) for y in feature_map.y],
        "note": feature_map.note,
    }
