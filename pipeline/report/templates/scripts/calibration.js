// How often answers are right against how sure they were.

function drawCalibration(run) {
  const bins = data.runs[run].calibration;
  const filled = bins.filter(bin => bin.n_images > 0);
  const plot = {
    heading: "Right against sure", x_name: "probability that it gave", y_name: "share that is right",
    is_log: false, mark: null, note: "Below the dashed line it is surer than it is right; above it, less sure.",
    curves: [
      { name: data.runs[run].name, x: filled.map(bin => bin.confidence), y: filled.map(bin => bin.accuracy),
        low: [], high: [], is_dashed: false },
      { name: "as right as it is sure", x: [0, 1], y: [0, 1], low: [], high: [], is_dashed: true },
    ],
  };
  const most = Math.max(...bins.map(bin => bin.n_images));
  const rows = bins.map(bin => make(
    "tr", {}, make("th", { scope: "row" }, interval(bin.low, bin.high).replaceAll(".0", "")),
    barCell(most ? bin.n_images / most : 0, grouped(bin.n_images), null, null, "recall many"),
    make("td", {}, percent(bin.accuracy))));
  const heads = ["Probability", make("th", { scope: "col", class: "left" }, "Images"), "Right"];
  const table = makeTable("Calibration by probability", heads, make("tbody", {}, ...rows), "sortable");
  return make("div", { class: "plots" }, drawPlot(plot), table);
}
