// The confusion matrix: a table of buttons for some classes, a canvas for many. Cells open images.

const MOST_CLASSES_IN_TABLE = 20;
const PAIRS_BELOW_MATRIX = 12;

// Images of a run that have a label and an answer for which `wanted` says yes: those of the split
// that was scored, or of all splits where each fold was scored by a head that had not seen it.
function imagesOfCell(run, wanted) {
  const split = data.runs[run].split;
  const isOneSplit = ["train", "val", "test"].includes(split);
  const found = [];
  images.called.forEach((called, image) => {
    if (isOneSplit && images.split[image] !== split) return;
    if (isNothing(called[run]) || isNothing(images.label[image])) return;
    if (wanted(images.label[image], called[run])) found.push(image);
  });
  return found.sort((one, other) => images.probability[other][run] - images.probability[one][run]);
}

function cellWords(label, called, n) {
  const what = label === called ? className(label) + ", recognised" : pairWords(label, called);
  return what + ": " + grouped(n);
}

function openCell(run, label, called) {
  const n = data.runs[run].matrix[label][called];
  const own = imagesOfCell(run, (a, b) => a === label && b === called);
  const note = `${grouped(own.length)} of ${counted(n, "image")} are in this report.`;
  openImages(cellWords(label, called, n), own, run, own.length < n ? note : "");
}

// How strong a cell's colour is: its share of its row.
function cellShare(row, called) {
  const total = row.reduce((sum, n) => sum + n, 0);
  return total === 0 ? 0 : row[called] / total;
}

function drawMatrix(run) {
  const { matrix } = data.runs[run];
  const grid = matrix.length <= MOST_CLASSES_IN_TABLE ? drawMatrixTable(run) : drawMatrixCanvas(run);
  const pairs = confusedPairs(run);
  const rows = pairs.slice(0, PAIRS_BELOW_MATRIX).map(([label, called, n]) => {
    const open = make("button", { type: "button", class: "link" },
      named(className(label)), " taken for ", named(className(called)));
    open.addEventListener("click", () => openCell(run, label, called));
    return make("li", {}, open, make("span", {}, grouped(n)));
  });
  return make("div", { class: "matrix" }, grid, pairs.length && matrix.length > 2
    ? make("div", { class: "most" }, make("h3", {}, "Most frequent"), make("ol", { class: "pairs" }, ...rows)) : null);
}

function drawMatrixTable(run) {
  const { matrix } = data.runs[run];
  const n = matrix.length;
  const buttons = [];
  const cell = Math.max(24, Math.min(n === 2 ? 88 : 56, Math.floor((sectionWidth() - 130) / n)));
  const head = (number, scope) => make(
    "th", { scope }, make("span", { dir: "auto", title: className(number) }, className(number)));
  const rows = matrix.map((row, label) => make(
    "tr", {}, head(label, "row"),
    ...row.map((count, called) => {
      const kind = count === 0 ? "empty" : label === called ? "diagonal" : "";
      const button = make(
        "button", { type: "button", class: kind, tabindex: buttons.length ? -1 : 0,
          "aria-label": cellWords(label, called, count), "data-cell": `${label} ${called}` },
        count ? grouped(count) : "");
      const strength = 0.12 + 0.36 * Math.sqrt(cellShare(row, called));
      if (count) button.style.setProperty("--share", strength.toFixed(3));
      button.addEventListener("click", () => openCell(run, label, called));
      buttons.push(button);
      return make("td", {}, button);
    })));
  const corner = make("td", { class: "small soft" }, "label ↓ taken for →");
  const heads = matrix.map((_, called) => head(called, "col"));
  const table = make(
    "table", {}, make("thead", {}, make("tr", {}, corner, ...heads)), make("tbody", {}, ...rows));
  table.style.setProperty("--cell", cell + "px");
  table.addEventListener("keydown", event => {
    const now = buttons.indexOf(document.activeElement);
    const next = steppedCell(now, event.key, n);
    if (now < 0 || next === now) return;
    event.preventDefault();
    buttons[now].tabIndex = -1;
    buttons[next].tabIndex = 0;
    buttons[next].focus();
  });
  return make("div", { class: "scroll" }, table);
}

// The cell, as row times n plus column, to which an arrow leads.
function steppedCell(cell, key, n) {
  const [row, column] = [Math.floor(cell / n), cell % n];
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -n], End: [0, n] };
  if (!steps[key]) return cell;
  const clamp = value => Math.max(0, Math.min(n - 1, value));
  return clamp(row + steps[key][0]) * n + clamp(column + steps[key][1]);
}

function drawMatrixCanvas(run) {
  const { matrix } = data.runs[run];
  const n = matrix.length;
  const canvas = make("canvas", { tabindex: 0, role: "application",
    "aria-label": `Confusion matrix of ${n} classes. Arrow keys go from cell to cell, `
      + "Enter opens the images of one." });
  const reading = make("p", { class: "reading soft", "aria-live": "polite" },
    "Point at a cell, or go there with the arrow keys.");
  const width = sectionWidth();
  const margin = Math.min(130, Math.floor(width / 4));
  const isNamed = Math.floor((width - margin) / n) >= 10;
  const offset = isNamed ? margin : 0;
  const side = Math.max(2, Math.min(22, Math.floor((width - offset) / n)));
  let cursor = -1;
  const draw = () => paintMatrix(canvas, matrix, { side, offset, cursor, isNamed });
  const go = next => {
    cursor = next;
    draw();
    const [label, called] = [Math.floor(next / n), next % n];
    reading.textContent = cellWords(label, called, matrix[label][called]);
  };
  const cellAt = event => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - offset) / side);
    const row = Math.floor((event.clientY - box.top - offset) / side);
    return row >= 0 && row < n && column >= 0 && column < n ? row * n + column : -1;
  };
  canvas.addEventListener("pointermove", event => {
    const cell = cellAt(event);
    if (cell >= 0 && cell !== cursor) go(cell);
  });
  canvas.addEventListener("click", event => {
    const cell = cellAt(event);
    if (cell >= 0) openCell(run, Math.floor(cell / n), cell % n);
  });
  canvas.addEventListener("focus", () => { if (cursor < 0) go(0); });
  canvas.addEventListener("keydown", event => {
    if (event.key === "Enter" && cursor >= 0) {
      event.preventDefault(); // or the dialog's button, focused by then, would get it
      openCell(run, Math.floor(cursor / n), cursor % n);
    }
    const next = steppedCell(cursor, event.key, n);
    if (next === cursor) return;
    event.preventDefault();
    go(next);
  });
  whenColoursChange(canvas, draw);
  draw();
  return make("div", {}, make("div", { class: "scroll" }, canvas), reading);
}

function paintMatrix(canvas, matrix, { side, offset, cursor, isNamed }) {
  const n = matrix.length;
  const context = sizeCanvas(canvas, offset + n * side, offset + n * side);
  const [right, wrong, empty, ink] = ["--right-rgb", "--wrong-rgb", "--fill", "--ink"].map(colourOf);
  const gap = side > 6 ? 1 : 0;
  context.fillStyle = empty;
  context.fillRect(offset, offset, n * side, n * side);
  matrix.forEach((row, label) => row.forEach((count, called) => {
    if (!count) return;
    const strength = 0.25 + 0.75 * Math.sqrt(cellShare(row, called));
    context.fillStyle = `rgb(${label === called ? right : wrong} / ${strength})`;
    context.fillRect(offset + called * side, offset + label * side, side - gap, side - gap);
  }));
  if (isNamed) nameRowsAndColumns(context, n, side, offset, ink);
  if (cursor >= 0) {
    context.strokeStyle = ink;
    context.lineWidth = 2;
    const [x, y] = [offset + (cursor % n) * side, offset + Math.floor(cursor / n) * side];
    context.strokeRect(x - 1, y - 1, side + 2, side + 2);
  }
}

function nameRowsAndColumns(context, n, side, offset, ink) {
  context.fillStyle = ink;
  context.font = Math.min(12, side - 1) + "px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let number = 0; number < n; number++) {
    const middle = offset + (number + 0.5) * side;
    const name = shortened(context, className(number), offset - 8);
    context.textAlign = "right";
    context.fillText(name, offset - 6, middle);
    context.save();
    context.translate(middle, offset - 6);
    context.rotate(-Math.PI / 2);
    context.textAlign = "left";
    context.fillText(name, 0, 0);
    context.restore();
  }
}

function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(text.slice(0, end) + "…").width > width) end--;
  return text.slice(0, end) + "…";
}
