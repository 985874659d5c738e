// The features in two dimensions: points on a canvas, and over it a second one for what moves.

const STEP_ACROSS = 1.6; // how much a step aside costs against one ahead, when keys walk from point to point

function makePoints(map) {
  return map.images.map((image, i) => ({ image, x: map.x[i], y: map.y[i], label: images.label[image] }));
}

// Where a point lies on the canvas, in CSS pixels, with a margin around the map.
function positionOf(point, view) {
  const margin = 14;
  return [
    margin + ((point.x - view.x) * view.zoom) * (view.width - 2 * margin),
    margin + ((1 - point.y - view.y) * view.zoom) * (view.height - 2 * margin),
  ];
}

function radiusOf(points) {
  return points.length > 5000 ? 2 : points.length > 1000 ? 2.8 : 4;
}

// A stamp for each class, so that 20,000 points are 20,000 copies and no path.
function makeStamp(label, radius) {
  const side = Math.ceil(radius * 3 + 4);
  const stamp = document.createElement("canvas");
  const context = sizeCanvas(stamp, side, side);
  traceShape(context, classShape(label), side / 2, side / 2, radius);
  context.globalAlpha = 0.82;
  context.fillStyle = classColour(label);
  context.fill();
  return { stamp, side };
}

function paintPoints(canvas, points, view, isShown, run) {
  const context = sizeCanvas(canvas, view.width, view.height);
  const radius = radiusOf(points);
  const stamps = new Map();
  const [ink, paper] = [colourOf("--ink"), colourOf("--raised")];
  const errors = [];
  for (const point of points) {
    if (!isShown(point)) continue;
    if (!stamps.has(point.label)) stamps.set(point.label, makeStamp(point.label, radius));
    const { stamp, side } = stamps.get(point.label);
    const [x, y] = positionOf(point, view);
    context.drawImage(stamp, x - side / 2, y - side / 2, side, side);
    if (isWrong(point.image, run)) errors.push(point);
  }
  for (const point of errors) {
    const [x, y] = positionOf(point, view);
    traceShape(context, classShape(point.label), x, y, radius + 1.5);
    context.fillStyle = classColour(point.label);
    context.fill();
    context.lineWidth = 3.5;
    context.strokeStyle = paper;
    context.stroke();
    context.lineWidth = 1.75;
    context.strokeStyle = ink;
    context.stroke();
  }
}

// The shown point that is nearest to a place, no further than `reach` pixels.
function nearestPoint(points, x, y, view, isShown, reach) {
  let [found, least] = [null, reach * reach];
  for (const point of points) {
    if (!isShown(point)) continue;
    const [px, py] = positionOf(point, view);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [found, least] = [point, distance];
  }
  return found;
}

// The point to which an arrow leads: ahead rather than aside, and not far.
function pointTowards(points, from, key, view, isShown) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const [x, y] = positionOf(from, view);
  let [found, least] = [from, Infinity];
  for (const point of points) {
    if (point === from || !isShown(point)) continue;
    const [px, py] = positionOf(point, view);
    const ahead = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (ahead <= 0 || aside > 2 * ahead) continue;
    const cost = ahead + STEP_ACROSS * aside;
    if (cost < least) [found, least] = [point, cost];
  }
  return found;
}

function drawMap(map) {
  const points = makePoints(map);
  const view = { x: 0, y: 0, zoom: 1, width: 0, height: 0 };
  const hidden = new Set();
  const state = { run: 0, current: null, line: [], isLasso: false, chosen: new Set(), onlyErrors: false };
  const isShown = point => !hidden.has(point.label) && (!state.onlyErrors || isWrong(point.image, state.run));
  const under = make("canvas", { "aria-hidden": "true" });
  const over = make("canvas", { class: "over", tabindex: 0, role: "application",
    "aria-label": `Map of ${counted(points.length, "image")}. Arrow keys go from point to point, `
      + "M to the next mistake, Space chooses a point, Enter opens it." });
  const box = make("div", { class: "map-box" }, under, over);
  const chosen = make("div");
  const paintOver = () => paintMoving(over, view, state);
  const paint = () => {
    view.width = box.clientWidth;
    if (view.width === 0) return;
    view.height = Math.round(Math.max(300, Math.min(640, view.width * 0.72)));
    paintPoints(under, points, view, isShown, state.run);
    paintOver();
  };
  const choose = found => {
    state.chosen = new Set(found);
    listChosen(chosen, [...state.chosen], state.run, () => { choose([]); over.focus(); });
    paintOver();
  };
  const go = (point, event) => {
    state.current = point;
    paintOver();
    if (!point) return hideTip();
    showTip([picture(point.image), named(verdictOf(point.image, state.run), "p"),
      named(images.path[point.image], "p")], () => {
      const rectangle = box.getBoundingClientRect();
      const [x, y] = positionOf(point, view);
      return [rectangle.left + x, rectangle.top + y];
    });
    if (!event) announce(verdictOf(point.image, state.run) + ": " + images.path[point.image]);
  };
  const parts = { points, view, state, isShown, over, box, go, choose, paint, paintOver };
  listenToPointer(parts);
  listenToKeys(parts);
  whenWidthChanges(box, paint);
  whenColoursChange(box, paint);
  const element = make("div", {}, mapTools(parts), box, legendOfMap(points, hidden, paint),
    make("p", { class: "soft small" }, "Outlined points are mistakes. " + (map.note || "")), chosen);
  return { element, setRun: run => { state.run = run; paint(); } };
}

// What moves: the lasso, what is chosen, and the point that is read.
function paintMoving(canvas, view, state) {
  const context = sizeCanvas(canvas, view.width, view.height);
  const [accent, ink] = [colourOf("--accent"), colourOf("--ink")];
  context.strokeStyle = accent;
  context.lineWidth = 2;
  for (const point of state.chosen) {
    const [x, y] = positionOf(point, view);
    traceShape(context, "circle", x, y, 6);
    context.stroke();
  }
  if (state.line.length > 1) {
    context.beginPath();
    state.line.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = accent;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
  }
  if (state.current) {
    const [x, y] = positionOf(state.current, view);
    traceShape(context, "circle", x, y, 8);
    context.strokeStyle = ink;
    context.lineWidth = 2.5;
    context.stroke();
  }
}

function zoomAround(view, factor, x = view.width / 2, y = view.height / 2) {
  const zoom = Math.max(1, Math.min(40, view.zoom * factor));
  const [u, v] = [x / view.width, y / view.height];
  view.x += u / view.zoom - u / zoom;
  view.y += v / view.zoom - v / zoom;
  view.zoom = zoom;
  keepInside(view);
}

function keepInside(view) {
  const most = 1 - 1 / view.zoom;
  view.x = Math.max(0, Math.min(most, view.x));
  view.y = Math.max(0, Math.min(most, view.y));
}

function mapTools({ view, state, box, points, paint, choose, isShown }) {
  const lasso = make("button", { type: "button", "aria-pressed": "false", class: "lasso" }, "Lasso");
  lasso.addEventListener("click", () => {
    state.isLasso = !state.isLasso;
    lasso.setAttribute("aria-pressed", state.isLasso);
    box.classList.toggle("lassoing", state.isLasso);
  });
  const zoom = (words, label, factor) => make("button", { type: "button", "aria-label": label,
    onclick: () => { zoomAround(view, factor); paint(); } }, words);
  const only = make("input", { type: "checkbox" });
  only.addEventListener("change", () => { state.onlyErrors = only.checked; paint(); });
  const all = make("button", { type: "button", onclick: () => choose(points.filter(point =>
    isShown(point) && isWrong(point.image, state.run))) }, "Choose the mistakes");
  return make("div", { class: "tools" }, lasso, all, zoom("+", "Nearer", 1.6), zoom("−", "Farther", 1 / 1.6),
    make("label", { class: "check" }, only, "only mistakes"));
}

function legendOfMap(points, hidden, paint) {
  const counts = new Map();
  points.forEach(point => counts.set(point.label, (counts.get(point.label) || 0) + 1));
  const labels = [...counts.keys()].sort((one, other) => (one ?? Infinity) - (other ?? Infinity));
  const buttons = labels.map(label => {
    const button = make("button", { type: "button", "aria-pressed": "true", title: className(label) },
      shapeMark(label), make("span", { dir: "auto" }, className(label)));
    button.addEventListener("click", () => {
      const isHidden = !hidden.has(label);
      if (isHidden) hidden.add(label); else hidden.delete(label);
      button.setAttribute("aria-pressed", !isHidden);
      paint();
    });
    return button;
  });
  const setAll = isOn => {
    labels.forEach((label, i) => {
      if (isOn) hidden.delete(label); else hidden.add(label);
      buttons[i].setAttribute("aria-pressed", isOn);
    });
    paint();
  };
  const every = labels.length < 3 ? [] : [
    make("button", { type: "button", onclick: () => setAll(true) }, "all"),
    make("button", { type: "button", onclick: () => setAll(false) }, "none")];
  return make("ul", { class: "legend-of-map", "aria-label": "Classes that are shown" },
    ...[...every, ...buttons].map(button => make("li", {}, button)));
}
