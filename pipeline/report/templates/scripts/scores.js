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

function drawScores(scores) {
  return make("div", { class: "scores", role: "list" }, ...scores.map(score => make(
    "div", { class: score.is_own ? "row own" : "row", role: "listitem" },
    make("span", { class: "of" }, named(score.name)),
    shareBar(score.accuracy, score.low, score.high),
    make("span", { class: "value" }, percent(score.accuracy),
      make("small", {}, interval(score.low, score.high))))));
}
