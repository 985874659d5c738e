"""A page on which people label images by clicks, offline: the images are in it, and nothing else.

It keeps what was clicked in the browser until it is saved as `labels.csv`: the columns path and
label, with the labels that were there before.
"""

import base64
import html
import io
import json
from dataclasses import dataclass
from string import Template

import numpy as np
from PIL import Image

_QUALITY = 85


@dataclass(frozen=True)
class PageImage:
    """One image to label.

    Args:
        path: as the feature file has it.
        pixels: uint8 (height, width, 3).
    """

    path: str
    pixels: np.ndarray


def make_labelling_page(
    title: str, images: list[PageImage], class_names: list[str], known: dict[str, str]
) -> str:
    """The page, HTML.

    Args:
        title: above it.
        images: in the order in which they are shown.
        class_names: that are offered; more can be added on the page.
        known: labels of other images by path, which are saved along.
    """
    data = {
        "title": title,
        "images": [{"path": one.path, "source": _to_data_url(one.pixels)} for one in images],
        "classes": class_names,
        "known": list(known.items()),
    }
    # `<` is written so that no name can end the script.
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    return _PAGE.substitute(title=html.escape(title), data=text)


def _to_data_url(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #22272e; background: #f6f7f9 }
header { position: sticky; top: 0; background: #fff; padding: 12px 20px;
 border-bottom: 1px solid #e5e7eb; display: flex; flex-wrap: wrap; gap: 8px 16px }
h1 { font-size: 18px; margin: 0; flex: 1 1 200px }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 16px;
 padding: 20px }
figure { margin: 0; background: #fff; border: 2px solid #e5e7eb; border-radius: 8px; padding: 8px }
figure.done { border-color: #0072b2 }
figure:focus { outline: 3px solid #d55e00 }
img { width: 100%; display: block; border-radius: 4px }
figcaption { font-size: 12px; color: #6b7280; overflow-wrap: anywhere; margin: 4px 0 }
button, input { font: inherit; padding: 4px 10px; border: 1px solid #9ca3af; border-radius: 6px;
 background: #fff }
figure button { font-size: 14px; margin: 2px }
button.chosen, #save { background: #0072b2; color: #fff; border-color: #0072b2 }
</style>
</head>
<body>
<header>
<h1 id="title"></h1>
<span id="count" aria-live="polite"></span>
<form id="add"><input id="name" placeholder="another class" aria-label="Another class">
<button>Add</button></form>
<button id="save">Save labels.csv</button>
</header>
<main id="images"></main>
<script id="data" type="application/json">$data</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const key = "frostline " + data.title + " " + data.images.map(image => image.path).join("|");
let kept = {};
try { kept = JSON.parse(localStorage.getItem(key)) || {}; } catch (error) { kept = {}; }
const labels = new Map(Object.entries(kept.labels || {}));
const classes = [...new Set([...data.classes, ...(kept.classes || [])])];

function quote(text) {
  return /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
function makeCsv(labels, data) {
  const own = data.images.filter(image => labels.has(image.path))
    .map(image => [image.path, labels.get(image.path)]);
  const paths = new Set(own.map(row => row[0]));
  const rows = [...data.known.filter(row => !paths.has(row[0])), ...own];
  return [["path", "label"], ...rows].map(row => row.map(quote).join(",") + "\\n").join("");
}
function keep() {
  const value = { labels: Object.fromEntries(labels), classes };
  try { localStorage.setItem(key, JSON.stringify(value)); } catch (error) { /* full, or private */ }
}
function choose(path, name) {
  if (labels.get(path) === name) labels.delete(path); else labels.set(path, name);
  keep();
  draw();
}
function drawFigure(image) {
  const figure = document.createElement("figure");
  figure.tabIndex = 0;
  figure.dataset.path = image.path;
  figure.className = labels.has(image.path) ? "done" : "";
  const picture = document.createElement("img");
  picture.src = image.source;
  picture.alt = image.path;
  const caption = document.createElement("figcaption");
  caption.textContent = image.path;
  figure.append(picture, caption);
  classes.forEach((name, number) => {
    const button = document.createElement("button");
    button.textContent = number < 9 ? (number + 1) + " " + name : name;
    button.className = labels.get(image.path) === name ? "chosen" : "";
    button.addEventListener("click", () => choose(image.path, name));
    figure.append(button);
  });
  figure.addEventListener("keydown", event => {
    const name = classes[Number(event.key) - 1];
    if (name !== undefined && event.target === figure) choose(image.path, name);
  });
  return figure;
}
function draw() {
  const focused = document.activeElement && document.activeElement.closest
    ? document.activeElement.closest("figure") : null;
  const path = focused ? focused.dataset.path : null;
  const figures = data.images.map(drawFigure);
  document.getElementById("images").replaceChildren(...figures);
  const next = figures.find(figure => figure.dataset.path === path);
  if (next) next.focus();
  document.getElementById("count").textContent = labels.size + " of " + data.images.length;
}
document.getElementById("title").textContent = data.title;
document.getElementById("add").addEventListener("submit", event => {
  event.preventDefault();
  const name = document.getElementById("name").value.trim();
  if (name && !classes.includes(name)) classes.push(name);
  document.getElementById("name").value = "";
  keep();
  draw();
});
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(makeCsv(labels, data));
  link.download = "labels.csv";
  link.click();
});
draw();
</script>
</body>
</html>
""")
