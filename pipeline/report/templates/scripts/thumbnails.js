// Thumbnails, cut from the sheets of the page and drawn on small canvases.

const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images; // columns: path, label, split, called, probability, thumbnail

const loadedSheets = new Map();

function loadSheet(number) {
  if (!loadedSheets.has(number)) {
    const picture = new Image();
    picture.src = data.sheets[number].url;
    loadedSheets.set(number, picture.decode().then(() => picture));
  }
  return loadedSheets.get(number);
}

async function drawThumbnail(canvas, image) {
  const [sheet, place] = images.thumbnail[image];
  const { tile, columns } = data.sheets[sheet];
  canvas.width = tile;
  canvas.height = tile;
  canvas.dataset.image = image;
  const picture = await loadSheet(sheet);
  if (canvas.dataset.image !== String(image)) return; // meanwhile it is to show another one
  const x = (place % columns) * tile;
  const y = Math.floor(place / columns) * tile;
  canvas.getContext("2d").drawImage(picture, x, y, tile, tile, 0, 0, tile, tile);
  canvas.dataset.drawn = "yes";
}

// The picture alone; a word in its place where there is none.
function picture(image, attributes = {}) {
  if (!images.thumbnail[image]) return make("span", { class: "gone" }, "no picture");
  const canvas = make("canvas", { "aria-hidden": "true", ...attributes });
  drawThumbnail(canvas, image);
  return canvas;
}

function className(number) {
  return isNothing(number) ? "no label" : data.class_names[number];
}

// `tulips, taken for roses 98%`, or what of it is known.
function verdictOf(image, run) {
  const label = images.label[image];
  const called = images.called[image][run];
  if (isNothing(called)) return className(label);
  const sure = percent(images.probability[image][run], 0);
  if (label === null) return "called " + className(called) + " " + sure;
  return called === label ? className(label) + " " + sure
    : className(label) + ", taken for " + className(called) + " " + sure;
}

function isWrong(image, run) {
  const called = images.called[image][run];
  const label = images.label[image];
  return !isNothing(label) && !isNothing(called) && called !== label;
}

// A picture that opens the image, and says what it is when pointed at or focused.
function thumbnail(image, { run = 0, others = [image], kind = "" } = {}) {
  const words = verdictOf(image, run) + ": " + images.path[image];
  const button = make(
    "button", { type: "button", class: "thumb " + kind, "aria-label": words, "data-image": image },
    picture(image));
  button.addEventListener("click", () => openImage(image, others, run));
  tipFor(button, () => [named(verdictOf(image, run), "p"), named(images.path[image], "p")]);
  return button;
}
