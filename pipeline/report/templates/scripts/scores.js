// Accuracies as bars with intervals, on a scale from none to all.

function place(element, low, high) {
  element.style.left = 100 * low + "%";
  element.style.width = 100 * (high - low) + "%";
  return element;
}

function shareBar(share, low, high, kind = "") {
  const bar = make("div", { class: "bar " + kind, "aria-hidden": "true" });
  bar.append(place(make("span", { class: "fill" }), 0, share || 0));
  if (!isNothing(low) && !isNothing(high)) {
    bar.append(place(make("span", { class: "whisker" }), low, high));
  }
  return bar;
}

// A cell of a table: a bar, its number, and the interval.
function barCell(share, words, low = null, high = null, kind = "recall") {
  return make("td", { class: "left" }, make("span", {}, shareBar(share, low, high, kind), make("b", {}, words),
    isNothing(low) ? null : make("span", { class: "interval" }, interval(low, high))));
}

function drawScores(scores) {
  return make("div", { class: "scores", role: "list" }, ...scores.map(score => make(
    "div", { class: score.is_own ? "row own" : "row", role: "listitem" },
    make("span", { class: "of" }, named(score.name)),
    shareBar(score.accuracy, score.low, score.high),
    make("span", { class: "value" }, percent(score.accuracy),
      make("small", {}, interval(score.low, score.high))))));
}
