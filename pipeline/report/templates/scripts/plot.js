// Curves over a common axis: bands, dashes, a logarithmic axis, a mark, a reading at any point.

const SERIES = [0, 1, 3, 2, 4, 8, 5, 6, 7, 9]; // of the colours of classes: blue, orange, red first

// Round numbers from low to high, about as many as asked for.
function niceTicks(low, high, wanted) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => span / size <= wanted);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = Number((factor * 10 ** power).toPrecision(3));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  const decades = ticks.filter(tick => Number.isInteger(Number(Math.log10(tick).toFixed(9))));
  return ticks.length > 7 && decades.length > 1 ? decades : ticks;
}

function isNumber(value) {
  return !isNothing(value) && Number.isFinite(value);
}

function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (isNumber(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  return low > high ? [0, 1] : low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// Functions from values to pixels, and the ticks of both axes.
function scalesOf(plot, width, height, margin) {
  const xs = plot.curves.flatMap(curve => curve.x).concat(plot.mark ? [plot.mark[0]] : []);
  const [xLow, xHigh] = rangeOf(plot.is_log ? xs.filter(x => x > 0) : xs);
  const isLog = plot.is_log && xLow > 0;
  const ys = plot.curves.flatMap(curve => [...curve.y, ...curve.low, ...curve.high]);
  let [yLow, yHigh] = rangeOf(ys);
  const ticks = niceTicks(yLow, yHigh, 5);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  yLow = Math.floor(yLow / step + 1e-9) * step;
  yHigh = Math.ceil(yHigh / step - 1e-9) * step;
  const along = isLog ? Math.log : value => value;
  const share = x => (along(x) - along(xLow)) / (along(xHigh) - along(xLow) || 1);
  return {
    x: value => margin.left + share(value) * (width - margin.left - margin.right),
    y: value => height - margin.bottom
      - (value - yLow) / (yHigh - yLow || 1) * (height - margin.top - margin.bottom),
    xTicks: isLog ? logTicks(xLow, xHigh) : niceTicks(xLow, xHigh, Math.max(2, Math.floor(width / 90))),
    yTicks: niceTicks(yLow, yHigh, 6),
  };
}

function pathOf(curve, scales) {
  let path = "";
  let isDown = false;
  curve.x.forEach((x, i) => {
    const isHere = isNumber(curve.y[i]);
    if (isHere) path += `${isDown ? "L" : "M"}${scales.x(x).toFixed(1)} ${scales.y(curve.y[i]).toFixed(1)}`;
    isDown = isHere;
  });
  return path;
}

function bandOf(curve, scales) {
  const at = curve.x.map((_, i) => i).filter(i => isNumber(curve.low[i]) && isNumber(curve.high[i]));
  if (at.length < 2) return "";
  const point = (i, values) => `${scales.x(curve.x[i]).toFixed(1)} ${scales.y(values[i]).toFixed(1)}`;
  return "M" + at.map(i => point(i, curve.high)).join("L")
    + "L" + at.reverse().map(i => point(i, curve.low)).join("L") + "Z";
}

function drawAxes(plot, scales, width, height, margin) {
  const text = (x, y, words, anchor) => makeSvg("text", { x, y, "text-anchor": anchor }, words);
  const parts = [];
  for (const tick of scales.yTicks) {
    const y = scales.y(tick);
    parts.push(makeSvg("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y, y2: y }));
    parts.push(text(margin.left - 8, y + 4, figure(tick), "end"));
  }
  for (const tick of scales.xTicks) {
    parts.push(text(scales.x(tick), height - margin.bottom + 18, figure(tick), "middle"));
    parts.push(makeSvg("line", { class: "axis", x1: scales.x(tick), x2: scales.x(tick),
      y1: height - margin.bottom, y2: height - margin.bottom + 4 }));
  }
  parts.push(makeSvg("line", { class: "axis", x1: margin.left, x2: width - margin.right,
    y1: height - margin.bottom, y2: height - margin.bottom }));
  parts.push(text(width - margin.right, height - 2, plot.x_name, "end"));
  parts.push(text(0, 11, plot.y_name, "start"));
  return parts;
}

function drawMark(plot, scales, width, height, margin) {
  if (!plot.mark) return [];
  const x = scales.x(plot.mark[0]);
  const isLeft = x > width * 0.6;
  return [
    makeSvg("line", { class: "mark", x1: x, x2: x, y1: margin.top, y2: height - margin.bottom }),
    makeSvg("text", { class: "mark-words", x: isLeft ? x - 6 : x + 6, y: margin.top + 10,
      "text-anchor": isLeft ? "end" : "start" }, plot.mark[1]),
  ];
}

function seriesColour(number) {
  return classColour(SERIES[number % SERIES.length]);
}

function drawCurves(plot, scales) {
  const bands = plot.curves.map((curve, number) => makeSvg(
    "path", { class: "band", d: bandOf(curve, scales), fill: seriesColour(number) }));
  const lines = plot.curves.flatMap((curve, number) => {
    const colour = seriesColour(number);
    const line = makeSvg("path", { class: "line" + (curve.is_dashed ? " dashed" : ""),
      d: pathOf(curve, scales), stroke: colour });
    const isSparse = !curve.is_dashed && curve.x.length <= 25;
    const dots = curve.x.map((x, i) => [x, curve.y[i]]).filter(([, y]) => isSparse && isNumber(y));
    return [line, ...dots.map(([x, y]) => makeSvg(
      "circle", { cx: scales.x(x), cy: scales.y(y), r: 3, fill: colour }))];
  });
  return [...bands.filter(band => band.getAttribute("d")), ...lines];
}

function drawLegend(plot) {
  const swatches = plot.curves.map((curve, number) => {
    const line = makeSvg("line", { x1: 1, x2: 21, y1: 5, y2: 5, "stroke-width": 3 });
    if (curve.is_dashed) line.setAttribute("stroke-dasharray", "5 3");
    const paint = () => line.setAttribute("stroke", seriesColour(number));
    whenColoursChange(line, paint);
    paint();
    const swatch = makeSvg("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, line);
    return make("li", {}, swatch, named(curve.name));
  });
  return make("ul", { class: "legend" }, ...swatches);
}

// What the curves say at one x: `epoch 3 · training 0.95 · validation 0.82 (0.78 to 0.85)`.
function readingAt(plot, x) {
  const parts = plot.curves.map(curve => {
    const i = curve.x.indexOf(x);
    if (i < 0 || !isNumber(curve.y[i])) return null;
    const band = isNumber(curve.low[i]) && isNumber(curve.high[i])
      ? ` (${figure(curve.low[i])} to ${figure(curve.high[i])})` : "";
    return `${curve.name} ${figure(curve.y[i])}${band}`;
  });
  return [`${plot.x_name} ${figure(x)}`, ...parts.filter(part => part)].join(" · ");
}

function tableOfNumbers(plot) {
  const xs = xsOf(plot);
  const rows = xs.map(x => make("tr", {}, make("th", { scope: "row" }, figure(x)), ...plot.curves.map(curve => {
    const i = curve.x.indexOf(x);
    return make("td", {}, i < 0 ? "–" : figure(curve.y[i]));
  })));
  const heads = [plot.x_name, ...plot.curves.map(curve => curve.name)];
  return make("details", {}, make("summary", {}, "Numbers"),
    makeTable("Numbers of " + plot.heading, heads, make("tbody", {}, ...rows)));
}

function xsOf(plot) {
  return [...new Set(plot.curves.flatMap(curve => curve.x))].sort((one, other) => one - other);
}

function drawPlot(plot) {
  const reading = make("p", { class: "reading", "aria-live": "polite" },
    "Point at the curves to read them.");
  const svg = makeSvg("svg", { "aria-hidden": "true" });
  const frame = make("div", { class: "frame-of-svg", tabindex: 0, role: "application",
    "aria-label": `${plot.heading}: ${plot.y_name} over ${plot.x_name}. Arrow keys read the curves.` }, svg);
  const xs = xsOf(plot);
  let at = -1;
  let scales = null;
  let cross = null;
  const paint = () => {
    const width = frame.clientWidth;
    if (width === 0) return;
    const height = Math.round(Math.max(200, Math.min(300, width * 0.6)));
    const margin = { left: 52, right: 12, top: 24, bottom: 42 };
    scales = scalesOf(plot, width, height, margin);
    cross = makeSvg("line", { class: "cross", y1: margin.top, y2: height - margin.bottom,
      visibility: "hidden" });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren(
      ...drawAxes(plot, scales, width, height, margin), ...drawCurves(plot, scales),
      ...drawMark(plot, scales, width, height, margin), cross);
    if (at >= 0) read(at);
  };
  const read = number => {
    at = number;
    reading.textContent = readingAt(plot, xs[at]);
    const x = scales.x(xs[at]);
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    cross.setAttribute("visibility", "visible");
  };
  frame.addEventListener("pointermove", event => {
    const x = event.clientX - frame.getBoundingClientRect().left;
    let nearest = 0;
    xs.forEach((value, i) => {
      if (Math.abs(scales.x(value) - x) < Math.abs(scales.x(xs[nearest]) - x)) nearest = i;
    });
    if (nearest !== at && xs.length) read(nearest);
  });
  frame.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !xs.length) return;
    event.preventDefault();
    read(Math.max(0, Math.min(xs.length - 1, at + step)));
  });
  whenWidthChanges(frame, paint);
  whenColoursChange(frame, paint);
  return make("figure", { class: "plot" },
    make("h3", {}, named(plot.heading)), drawLegend(plot), frame, reading,
    plot.note ? make("p", { class: "note" }, plot.note) : null, tableOfNumbers(plot));
}
