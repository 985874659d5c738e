// Puts the report together: what all runs share once, what belongs to one run for the chosen one.

function sectionWidth() {
  return document.querySelector("main").clientWidth;
}

function fill(name, content) {
  const section = document.querySelector(`[data-part="${name}"]`);
  if (!section) return;
  section.hidden = content === null;
  section.querySelector(".body").replaceChildren(...(content === null ? [] : [content]));
}

let featureMap = null;
let shownRun = 0;

function showRun(number, isScrolled) {
  shownRun = number;
  const run = data.runs[number];
  fill("scores", run.scores.length ? drawScores(run.scores) : null);
  fill("mistakes", drawMistakes(number));
  fill("uncertain", run.uncertain.length ? drawUncertain(number) : null);
  fill("matrix", run.matrix.length ? drawMatrix(number) : null);
  fill("classes", run.classes.length ? drawClasses(number) : null);
  fill("calibration", run.calibration.some(bin => bin.n_images > 0) ? drawCalibration(number) : null);
  fill("curves", run.plots.length ? make("div", { class: "plots" }, ...run.plots.map(drawPlot)) : null);
  if (featureMap) featureMap.setRun(number);
  fill("findings", data.findings ? drawFindings(data.findings, number) : null);
  document.querySelectorAll("[data-run]").forEach(part => {
    part.hidden = part.dataset.run !== String(number);
  });
  document.querySelectorAll(".picker button").forEach((button, i) => {
    button.setAttribute("aria-pressed", i === number);
  });
  listContents();
  if (isScrolled) {
    document.querySelector(".picker").scrollIntoView();
    document.querySelectorAll(".picker button")[number].focus({ preventScroll: true });
  }
}

function drawReport() {
  if (data.runs.length > 1) {
    fill("runs", drawRunsTable());
    const compared = data.comparisons.map(drawComparison);
    fill("comparisons", compared.length ? make("div", {}, ...compared) : null);
    const overlaid = overlaidPlots();
    fill("overlaid", overlaid.length ? make("div", { class: "plots" }, ...overlaid.map(drawPlot)) : null);
    document.querySelector(".picker .choices").append(...data.runs.map((run, number) => make(
      "button", { type: "button", title: run.name, onclick: () => showRun(number, false) },
      named(run.name))));
  }
  featureMap = data.feature_map ? drawMap(data.feature_map) : null;
  fill("map", featureMap ? featureMap.element : null);
  document.querySelectorAll(".commands").forEach(commands => commands.append(
    copyButton("Copy the commands", () => commands.querySelector("pre").textContent)));
  showRun(0, false);
  let width = sectionWidth();
  addEventListener("resize", () => {
    if (sectionWidth() === width || document.querySelector("dialog[open]")) return;
    width = sectionWidth();
    fill("matrix", data.runs[shownRun].matrix.length ? drawMatrix(shownRun) : null);
  });
}

drawReport();
