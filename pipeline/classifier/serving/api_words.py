"""What the OpenAPI description of the service says, with examples that are true to life."""

from typing import Any

_CLASSES = [{"name": "daisy", "probability": 0.923}, {"name": "tulips", "probability": 0.041}]
_ANSWERED = [{"path": "photo.jpg", "classes": _CLASSES}]
_PROMISING = [
    {"path": "photo.jpg", "answer": "daisy", "no_answer": None, "classes": _CLASSES},
    {"path": "odd.jpg", "answer": None, "no_answer": "unsure", "classes": _CLASSES},
]
_SKIPPED = [{"path": "notes.txt", "skipped": "not an image"}]
_TEXT_OR_NONE = {"type": ["string", "null"]}
_FILE = {"type": "string", "format": "binary"}

ABOUT: dict[str, Any] = {
    "title": "Frostline",
    "summary": "Classifies images by the model of a run.",
    "description": (
        "Send images to `/predict`: files of a form, or the bytes of one image. Formats and limits "
        'are those of the command `predict`. Errors are JSON: `{"detail": "..."}`.'
    ),
}

SUMMARIES: list[dict[str, Any]] = [
    {"summary": "Classify images"},
    {"summary": "Is it ready, and what answers"},
    {"summary": "Counts and times, for Prometheus"},
]

PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image file or many, in any of a form's fields; or the bytes of one.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": _FILE}},
                }
            },
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
        },
    },
    "x-examples": [
        "curl -F file=@photo.jpg 'http://127.0.0.1:8000/predict?top=3'",
        "curl -F file=@a.jpg -F file=@b.png http://127.0.0.1:8000/predict",
        "curl -X POST -T photo.jpg http://127.0.0.1:8000/predict",
    ],
}

_IMAGE = {
    "type": "object",
    "required": ["path"],
    "properties": {
        "path": {
            **_TEXT_OR_NONE,
            "description": "Name of the file as it was sent; null for bytes.",
        },
        "classes": {
            "type": "array",
            "description": "The most probable first.",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "probability": {"type": "number"}},
            },
        },
        "answer": {**_TEXT_OR_NONE, "description": "Only of a run that makes a promise."},
        "no_answer": {
            **_TEXT_OR_NONE,
            "description": "`unsure` or `unlike anything seen`, where the promise covers none.",
        },
        "skipped": {"type": "string", "description": "Why the image cannot be used."},
    },
}


def _refusal(words: str, example: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"detail": {"type": "string"}}}
    content = {"schema": schema, "example": {"detail": example}}
    return {"description": words, "content": {"application/json": content}}


PREDICT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An object for each image, in order; as `predict` prints them as JSON.",
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": _IMAGE},
                "examples": {
                    "a photo": {"value": _ANSWERED},
                    "a run that makes a promise": {"value": _PROMISING},
                    "no image": {"value": _SKIPPED},
                },
            }
        },
    },
    400: _refusal("No image was sent, or the form cannot be read.", "No image was sent."),
    408: _refusal("The request comes too slowly.", "The request comes too slowly."),
    413: _refusal("The request is too large.", "The request is too large."),
    415: _refusal("Neither a form nor bytes.", "Received: content type text/plain"),
    503: _refusal("Too many wait, or it is starting; see Retry-After.", "Too many images wait."),
    504: _refusal("No answer in time.", "No answer within 30 seconds."),
}

HEALTH_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "It answers.",
        "content": {
            "application/json": {
                "example": {
                    "ready": True,
                    "problem": None,
                    "waiting": 0,
                    "run": "flowers-efficientnet-lite0-logreg-1",
                    "classes": ["daisy", "tulips"],
                }
            }
        },
    },
    503: {"description": "The model is being loaded."},
}

METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus's text format.",
        "content": {
            "text/plain": {"example": 'frostline_requests_total{path="/predict",status="200"} 7.0'}
        },
    }
}

WHOLE_EXAMPLES = [
    ("/predict", "post", PREDICT_ANSWERS),
    ("/health", "get", HEALTH_ANSWERS),
]
