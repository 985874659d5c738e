// A row for each class: how many, precision, recall with its interval, F1. Headings sort.

const CLASS_COLUMNS = [
  ["Class", (scores, number) => className(number).toLowerCase(), "ascending"],
  ["Images", scores => scores.n_images, "descending"],
  ["Precision", scores => scores.precision, "ascending"],
  ["Recall", scores => scores.recall, "ascending"],
  ["F1", scores => scores.f1, "ascending"],
];

// Classes in order of a column; what has no value comes last, either way.
function sortedClasses(classes, column, direction) {
  const valueOf = number => CLASS_COLUMNS[column][1](classes[number], number);
  const sign = direction === "ascending" ? 1 : -1;
  return classes.map((_, number) => number).sort((one, other) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b) || one - other;
  });
}

function drawClassRow(run, number) {
  const scores = data.runs[run].classes[number];
  const open = make("button", { type: "button", class: "link" }, named(className(number)));
  open.addEventListener("click", () => {
    const own = imagesOfCell(run, (label, called) => label === number || called === number);
    openImages(className(number), own, run, `${counted(own.length, "image")} of this class, or taken for it.`);
  });
  return make(
    "tr", {}, make("th", { scope: "row", class: "name" }, open),
    make("td", {}, grouped(scores.n_images)), make("td", {}, percent(scores.precision)),
    barCell(scores.recall, percent(scores.recall), scores.low, scores.high),
    make("td", {}, percent(scores.f1)));
}

function drawClasses(run) {
  const classes = data.runs[run].classes;
  const body = make("tbody");
  const rest = make("div");
  let [column, direction] = [4, "ascending"];
  const headings = CLASS_COLUMNS.map(([name, , first], number) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      direction = column !== number ? first : direction === "ascending" ? "descending" : "ascending";
      column = number;
      draw();
    });
    return make("th", { scope: "col", class: name === "Recall" ? "left" : "" }, button);
  });
  const table = makeTable("Scores of the classes", headings, body, "sortable");
  const draw = () => {
    headings.forEach((heading, number) => {
      if (number === column) heading.setAttribute("aria-sort", direction);
      else heading.removeAttribute("aria-sort");
    });
    const order = sortedClasses(classes, column, direction);
    const pages = paged(body, order, 25, number => drawClassRow(run, number), "class");
    table.firstChild.append(body);
    rest.replaceChildren(pages);
  };
  draw();
  return make("div", {}, table, rest);
}
