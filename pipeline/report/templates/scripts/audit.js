// The page of an audit: decide about each doubtful image, keep it in this browser, save fix.csv.

const KEPT = "frostline audit " + data.key;
const decisions = loadDecisions(); // by row of the table: {relabel, out}
const shows = new WeakMap(); // by card: what shows its decision

function loadDecisions() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || {};
  } catch {
    return {}; // a private window keeps nothing
  }
}

function keepDecisions() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(decisions));
  } catch {
    document.querySelector(".tally").textContent = "This browser keeps nothing: save before you leave.";
  }
}

function tally() {
  const all = Object.values(decisions);
  const relabelled = all.filter(one => one.relabel !== undefined && !one.out).length;
  const out = all.filter(one => one.out).length;
  document.querySelector(".tally").textContent = relabelled + out === 0 ? "Nothing decided yet."
    : `${grouped(relabelled)} relabelled, ${grouped(out)} left out.`;
  document.querySelector(".undo").disabled = all.length === 0;
}

function decide(row, change) {
  const decision = { ...decisions[row], ...change };
  if (decision.relabel === undefined) delete decision.relabel;
  if (!decision.out) delete decision.out;
  if (Object.keys(decision).length) decisions[row] = decision; else delete decisions[row];
}

function decided() {
  tally();
  keepDecisions();
  document.querySelectorAll(".cards > li").forEach(card => shows.get(card)());
}

function neighboursOf(image) {
  for (const group of data.groups) {
    const found = group.items.find(item => item.image === image);
    if (found) return found.related;
  }
  return [];
}

function proposalOf(item) {
  if (item.leave_out) return { words: "Leave out", change: { out: true } };
  if (item.suggested === null) return null;
  return { words: "Relabel to " + className(item.suggested), change: { relabel: item.suggested } };
}

function classSelect(item) {
  const label = images.label[item.image];
  const suggested = item.suggested === label ? null : item.suggested;
  const rest = data.class_names.map((_, number) => number)
    .filter(number => number !== label && number !== suggested);
  const option = (number, words) => make("option", { value: number }, words);
  return make(
    "select", { "aria-label": "Class of " + images.path[item.image] },
    make("option", { value: "" }, label === null ? "no label" : className(label)),
    suggested === null ? null : option(suggested, className(suggested)),
    ...rest.map(number => option(number, className(number))));
}

// `tulips, looks like daisy`, and what else is said of it.
function doubtOf(item) {
  const label = named(className(images.label[item.image]));
  const isOther = item.suggested !== null && item.suggested !== images.label[item.image];
  const looks = isOther ? [", looks like ", make("b", {}, named(className(item.suggested)))] : [];
  return make("div", {}, make("p", { class: "verdict" }, label, ...looks),
    item.text ? make("p", { class: "verdict small soft" }, named(item.text)) : null);
}

function drawCard(item, others) {
  const row = data.rows[item.image];
  const select = classSelect(item);
  const out = make("input", { type: "checkbox", "aria-label": "Leave out " + images.path[item.image] });
  const proposal = proposalOf(item);
  const take = proposal ? make("button", { type: "button" }, proposal.words) : null;
  const card = make(
    "li", { "data-path": images.path[item.image] }, thumbnail(item.image, { others, kind: "main" }),
    make(
      "div", { class: "words" }, doubtOf(item),
      make("p", { class: "path", dir: "auto" }, images.path[item.image]),
      item.related.length ? besideEach(item.related, 0) : null,
      make("div", { class: "choice" }, take, select, make("label", { class: "check" }, out, "leave out"))));
  const show = () => {
    const { relabel, out: isOut } = decisions[row] || {};
    select.value = relabel === undefined ? "" : String(relabel);
    select.classList.toggle("changed", relabel !== undefined);
    select.disabled = Boolean(isOut);
    out.checked = Boolean(isOut);
    card.classList.toggle("out", Boolean(isOut));
  };
  select.addEventListener("change", () => {
    decide(row, { relabel: select.value === "" ? undefined : Number(select.value) });
    decided();
  });
  out.addEventListener("change", () => { decide(row, { out: out.checked }); decided(); });
  if (take) take.addEventListener("click", () => { decide(row, proposal.change); decided(); });
  shows.set(card, show);
  show();
  return card;
}

function drawGroup(group) {
  const proposed = group.items.filter(item => proposalOf(item));
  const others = group.items.map(item => item.image);
  const all = make("button", { type: "button", onclick: () => {
    proposed.forEach(item => decide(data.rows[item.image], proposalOf(item).change));
    decided();
  } }, `Take all ${grouped(proposed.length)} proposals`);
  const list = make("ol", { class: "cards" });
  const left = group.n_images - group.items.length;
  const cards = group.items.length ? paged(list, group.items, 12, item => drawCard(item, others))
    : make("p", { class: "soft" }, "About no single image.");
  const more = `The worst ${counted(others.length, "image")} of ${grouped(group.n_images)} are here; `
    + "audit.csv lists all.";
  return make(
    "div", {}, proposed.length > 1 ? make("div", { class: "tools" }, all) : null, cards,
    left > 0 && others.length ? make("p", { class: "soft small" }, more) : null);
}

function saveFix() {
  const blob = new Blob([fixCsv(data.table, data.labels, decisions)], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(blob), download: "fix.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  announce("fix.csv is saved");
}

function drawAudit() {
  data.groups.forEach((group, number) => {
    document.querySelector(`[data-group="${number}"] .body`).replaceChildren(drawGroup(group));
  });
  document.querySelector(".save").addEventListener("click", saveFix);
  document.querySelector(".undo").addEventListener("click", () => {
    Object.keys(decisions).forEach(row => delete decisions[row]);
    decided();
  });
  listContents();
  tally();
}

drawAudit();
