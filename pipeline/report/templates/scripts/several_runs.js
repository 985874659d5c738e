// Runs side by side: a table, curves over each other, and the images on which they disagree.

function drawRunsTable() {
  const rows = data.runs.map((run, number) => {
    const own = run.scores.find(score => score.is_own);
    const open = make(
      "button", { type: "button", class: "link", onclick: () => showRun(number, true) }, named(run.name));
    const accuracy = own ? barCell(own.accuracy, percent(own.accuracy), own.low, own.high) : make("td", {}, "–");
    return make(
      "tr", {}, make("th", { scope: "row", class: "name" }, open), accuracy,
      make("td", {}, grouped(run.n_mistakes)), make("td", { class: "left" }, run.split),
      make("td", { class: "left" }, named(run.kind)));
  });
  const left = words => make("th", { scope: "col", class: "left" }, words);
  const heads = ["Run", left("Accuracy"), "Mistakes", left("Scored on"), left("Head")];
  return makeTable("The runs side by side", heads, make("tbody", {}, ...rows), "sortable");
}

function drawComparison(comparison) {
  const [first, second] = [data.runs[comparison.first].name, data.runs[comparison.second].name];
  const disagreement = (winner, run, indices) => make(
    "button", { type: "button", disabled: indices.length === 0,
      onclick: () => openImages(`Only ${winner} has them right`, indices, run) },
    `Only `, named(winner), ` right: ${grouped(indices.length)}`);
  return make(
    "div", { class: "comparison" }, make("h3", {}, named(first), " and ", named(second)),
    ...comparison.sentences.map(sentence => named(sentence, "p")),
    make(
      "div", { class: "tools" }, disagreement(first, comparison.second, comparison.only_first),
      disagreement(second, comparison.first, comparison.only_second)));
}

// Plots that several runs have, by heading, each curve under the name of its run.
function overlaidPlots() {
  const byHeading = new Map();
  data.runs.forEach(run => run.plots.forEach(plot => {
    const key = [plot.heading, plot.x_name, plot.y_name, plot.is_log].join("\n");
    byHeading.set(key, [...(byHeading.get(key) || []), [run, plot]]);
  }));
  return [...byHeading.values()].filter(found => found.length > 1).map(found => ({
    ...found[0][1], mark: null, note: "",
    curves: found.flatMap(([run, plot]) => plot.curves.map(
      curve => ({ ...curve, name: `${run.name}: ${curve.name}` }))),
  }));
}
