// Colours that follow light and dark, and a colour and a shape for each class.

const SHAPES = ["circle", "triangle", "square", "diamond", "cross"];
const CLASS_COLOURS = {
  light: ["#2b6cb0", "#d0660c", "#2a8557", "#c4353c", "#7d55b5",
    "#8a5a3c", "#cc4f97", "#76781a", "#128594", "#66707b"],
  dark: ["#6aa9ea", "#f39a4a", "#5cc48f", "#f2777c", "#b393e6",
    "#c99b7c", "#f08cc4", "#c0c255", "#4fc3d2", "#a9b3bd"],
};
const darkness = matchMedia("(prefers-color-scheme: dark)");
const repaints = new Map(); // by element; what has left the page is forgotten

darkness.addEventListener("change", () => repaints.forEach((paint, element) => {
  if (element.isConnected) paint(); else repaints.delete(element);
}));

function whenColoursChange(element, paint) {
  repaints.set(element, paint);
}

function colourOf(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function classColour(number) {
  const colours = CLASS_COLOURS[darkness.matches ? "dark" : "light"];
  return number === null ? colourOf("--edge") : colours[number % colours.length];
}

function classShape(number) {
  const round = Math.floor((number || 0) / CLASS_COLOURS.light.length);
  return SHAPES[round % SHAPES.length];
}

// Corners of a shape around the middle, for a radius of one; a circle has none.
const CORNERS = {
  triangle: [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
  square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  diamond: [[0, -1.3], [1.15, 0], [0, 1.3], [-1.15, 0]],
  cross: [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2],
    [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]],
};

function traceShape(context, shape, x, y, radius) {
  context.beginPath();
  if (shape === "circle") {
    context.arc(x, y, radius, 0, 2 * Math.PI);
    return;
  }
  CORNERS[shape].forEach(([dx, dy]) => context.lineTo(x + dx * radius, y + dy * radius));
  context.closePath();
}

function shapeMark(number) {
  const shape = classShape(number);
  const mark = shape === "circle" ? makeSvg("circle", { cx: 0, cy: 0, r: 1.1 })
    : makeSvg("polygon", { points: CORNERS[shape].map(corner => corner.join(",")).join(" ") });
  const paint = () => mark.setAttribute("fill", classColour(number));
  whenColoursChange(mark, paint);
  paint();
  return makeSvg("svg", { viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" }, mark);
}

// Paints first when the element is laid out, then whenever it gets wider or narrower.
function whenWidthChanges(element, paint) {
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth === width || element.clientWidth === 0) return;
    width = element.clientWidth;
    requestAnimationFrame(paint);
  }).observe(element);
}

// A context in CSS pixels, sharp on any screen.
function sizeCanvas(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}
