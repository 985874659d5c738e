"""Code for people to copy from a card: a picture's pixels as they go in, and each runtime's use."""

from pipeline.classifier.export.contents import ExportedModel, ModelInput

_BOXES = {
    "stretch": """\
    new = (SIDE, SIDE)
    drafted = image.draft(None, (2 * SIDE, 2 * SIDE))
    left, top, right, bottom = drafted[1] if drafted else (0, 0, *image.size)
""",
    "crop": """\
    new = (SIDE, SIDE)
    drafted = image.draft(None, (2 * SIDE, 2 * SIDE))
    _, _, width, height = drafted[1] if drafted else (0, 0, *image.size)
    side = min(width, height)  # the middle of the picture
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = left + side, top + side
""",
    "pad": """\
    new = tuple(max(1, round(SIDE * length / max(image.size))) for length in image.size)
    drafted = image.draft(None, (2 * new[0], 2 * new[1]))
    left, top, right, bottom = drafted[1] if drafted else (0, 0, *image.size)
""",
}

_PREPARE = """\
import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

SIDE, BACKGROUND = {side}, {background}


def prepare(path):
    \"\"\"RGB 0..255, uint8 (SIDE, SIDE, 3), of a picture of 8 bits.\"\"\"
    image = Image.open(path)
    # A large JPEG is decoded at a half, a quarter or an eighth of its size.
{box}    turn, profile = image.getexif().get(0x0112, 1), image.info.get("icc_profile")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgb = image.convert("RGB")
    if profile and image.mode == "RGB":
        colours = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.profileToProfile(rgb, colours, ImageCms.createProfile("sRGB"))
        if np.abs(np.array(srgb, int) - np.array(rgb, int)).max() > 2:  # most are sRGB already
            rgb = srgb
    if alpha is not None:
        canvas = Image.new("RGB", rgb.size, BACKGROUND)
        canvas.paste(rgb, mask=alpha)
        rgb = canvas
    across = int((right - left) / new[0] / 3) or 1
    down = int((bottom - top) / new[1] / 3) or 1
    rgb = rgb.reduce((across, down))  # means of whole blocks, where it is far too large
    box = (left / across, top / down, right / across, bottom / down)
    rgb = rgb.resize(new, Image.Resampling.BILINEAR, box=box)  # Pillow's is antialiased
    rgb.getexif()[0x0112] = turn
    rgb = ImageOps.exif_transpose(rgb)
{pad}    return np.array(rgb)
"""

_PAD = """\
    canvas = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    canvas.paste(rgb, ((SIDE - rgb.width) // 2, (SIDE - rgb.height) // 2))
    rgb = canvas
"""

_USES = {
    "onnx": """\
import onnxruntime

{begin}session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
probabilities = session.run(["probabilities"], {{"image": pixels}})[0][0]
""",
    "openvino": """\
import openvino

{begin}hint = {{"INFERENCE_PRECISION_HINT": "{hint}"}}
model = openvino.Core().compile_model("{file}", "CPU", hint)
probabilities = model(pixels)["probabilities"][0]
""",
    "litert": """\
from ai_edge_litert.interpreter import Interpreter

{begin}run = Interpreter("{file}").get_signature_runner("serving_default")
probabilities = run(image=pixels)["probabilities"][0]
""",
    "saved-model": """\
import tensorflow as tf

{begin}model = tf.saved_model.load("{file}").signatures["serving_default"]
probabilities = model(image=tf.constant(pixels))["probabilities"].numpy()[0]
""",
    "keras": """\
import keras

{begin}model = keras.saving.load_model("{file}")
probabilities = keras.ops.convert_to_numpy(model(pixels.astype("float32"))["probabilities"])[0]
""",
}

_BEGIN = """\
pixels = prepare("a.jpg")[None]  # uint8 (1, {side}, {side}, 3)
labels = open("labels.txt", encoding="utf-8").read().splitlines()
"""
_END = "print(labels[probabilities.argmax()], probabilities.max())\n"


def show_preparing(into: ModelInput) -> str:
    """Python that makes of a picture's file what goes into the model."""
    return _PREPARE.format(
        side=into.height,
        background=tuple(into.background),
        box=_BOXES[into.resize],
        pad=_PAD if into.resize == "pad" else "",
    )


def show_use(form: str, model: ExportedModel, into: ModelInput) -> str | None:
    """Python that asks a model; None of a format that no Python runs."""
    if form not in _USES:
        return None
    begin = _BEGIN.format(side=into.height)
    hint = "bf16" if model.precision == "bfloat16" else "f32"
    return _USES[form].format(begin=begin, file=model.file, hint=hint) + _END
