// What is taken for another class, by pairs of classes, and the least certain.

const PAIRS_LISTED = 400;

function pairKey(image, run) {
  return images.label[image] + ">" + images.called[image][run];
}

function pairWords(label, called) {
  return className(label) + " taken for " + className(called);
}

// [label, called, how many], the most frequent first, of what a run has wrong.
function confusedPairs(run) {
  const pairs = [];
  data.runs[run].matrix.forEach((row, label) => row.forEach((n, called) => {
    if (n > 0 && label !== called) pairs.push([label, called, n]);
  }));
  return pairs.sort((one, other) => other[2] - one[2]);
}

function neighboursOf(image, run) {
  const mistakes = data.runs ? data.runs[run].mistakes : [];
  const found = mistakes.find(mistake => mistake.image === image);
  return found ? found.neighbours : [];
}

function drawMistake(mistake, run, others) {
  const image = mistake.image;
  const called = images.called[image][run];
  return make(
    "li", { "data-path": images.path[image] },
    thumbnail(image, { run, others, kind: "main" }),
    make(
      "div", { class: "words" },
      make("p", { class: "verdict" }, named(className(images.label[image])), ", taken for ",
        make("b", {}, named(className(called))), " ",
        make("span", { class: "sure wrong" }, percent(images.probability[image][run], 0))),
      make("p", { class: "path", dir: "auto" }, images.path[image]),
      mistake.is_suspect ? make("span", { class: "tag" }, "The audit doubts its label") : null,
      mistake.neighbours.length ? besideEach(mistake.neighbours, run, called) : null));
}

function drawMistakes(run) {
  const { mistakes, n_mistakes: total } = data.runs[run];
  if (total === 0) return make("p", {}, "None: every image that was scored is right.");
  const listed = new Set(mistakes.map(mistake => pairKey(mistake.image, run)));
  const pairs = confusedPairs(run).filter(([label, called]) => listed.has(label + ">" + called));
  const select = make(
    "select", {}, make("option", { value: "" }, `all (${grouped(total)})`),
    ...pairs.slice(0, PAIRS_LISTED).map(([label, called, n]) => make(
      "option", { value: label + ">" + called }, `${pairWords(label, called)} (${n})`)));
  const suspect = make("input", { type: "checkbox" });
  const anySuspect = mistakes.some(mistake => mistake.is_suspect);
  const place = make("div");
  const draw = () => {
    const shown = mistakes.filter(mistake =>
      (!select.value || pairKey(mistake.image, run) === select.value)
      && (!suspect.checked || mistake.is_suspect));
    const others = shown.map(mistake => mistake.image);
    place.replaceChildren(shown.length
      ? paged(make("ol", { class: "mistakes" }), shown, 12, mistake => drawMistake(mistake, run, others), "mistake")
      : make("p", { class: "soft" }, "None of these."));
  };
  select.addEventListener("change", draw);
  suspect.addEventListener("change", draw);
  draw();
  const left = total - mistakes.length;
  return make(
    "div", {},
    make(
      "div", { class: "tools" }, make("label", { class: "field" }, "Show", select),
      anySuspect ? make("label", { class: "check" }, suspect, "only doubtful labels") : null),
    place,
    make("p", { class: "soft small" }, [
      mistakes.some(mistake => mistake.neighbours.length)
        ? "Underlined neighbours are of the class that the image was taken for." : "",
      left > 0 ? `The ${grouped(mistakes.length)} surest of ${counted(total, "mistake")} are here.` : "",
    ].join(" ").trim()));
}

function drawUncertain(run) {
  return gallery(data.runs[run].uncertain, run, image => verdictOf(image, run));
}
