"use strict";
// Sends what is dropped, pasted, chosen or photographed, a request an image, and draws the answers.
// Names reach the screen through textContent alone.

const TOP = 5;
const AT_ONCE = 3;
const get = id => document.getElementById(id);
const waiting = [];
let underWay = 0;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function showRun() {
  const response = await fetch("/health");
  const health = await response.json();
  if (!health.ready) {
    get("classes").textContent = "The model is being loaded.";
    setTimeout(showRun, 1000);
    return;
  }
  document.title = health.run;
  get("run").textContent = health.run;
  const { length } = health.classes;
  const some = health.classes.slice(0, 8).join(", ");
  const more = length > 8 ? ` and ${(length - 8).toLocaleString("en")} more` : "";
  const always = health.promises ? "" : " It always names one, whatever the image shows.";
  get("classes").textContent = `Tells ${length.toLocaleString("en")} classes apart: ${some}${more}.${always}`;
  get("problem").hidden = !health.problem;
  get("problem").textContent = health.problem || "";
}

function take(files) {
  for (const file of files) {
    const item = make("li", "result");
    const side = make("div");
    const picture = make("img");
    picture.alt = "";
    picture.src = URL.createObjectURL(file);
    picture.onload = () => URL.revokeObjectURL(picture.src);
    picture.onerror = () => picture.replaceWith(make("div", "none")); // no browser shows all formats
    side.append(make("h2", "", "…"), make("p", "file", file.name));
    item.append(picture, side);
    get("results").prepend(item);
    waiting.push({ file, item, side });
  }
  sendNext();
}

function sendNext() {
  while (underWay < AT_ONCE && waiting.length) {
    underWay += 1;
    send(waiting.shift()).finally(() => { underWay -= 1; sendNext(); });
  }
}

async function send({ file, item, side }) {
  const form = new FormData();
  form.append("file", file);
  try {
    const response = await fetch(`/predict?top=${TOP}`, { method: "POST", body: form });
    const answer = await response.json();
    if (response.ok) showAnswer(item, side, answer[0]);
    else showProblem(item, side, answer.detail);
  } catch (error) {
    showProblem(item, side, `The service cannot be reached (${error.message}).`);
  }
}

function showAnswer(item, side, found) {
  if (found.skipped !== undefined) {
    showProblem(item, side, found.skipped);
    return;
  }
  const [heading, file] = side.children;
  heading.textContent = found.no_answer || found.classes[0].name;
  if (found.no_answer) {
    item.classList.add("unsure");
    const words = "The run's promise covers no answer. What it would have said:";
    file.after(make("p", "words", words));
  }
  const bars = make("ul", "bars");
  for (const { name, probability } of found.classes) {
    const row = make("li");
    const bar = make("progress");
    bar.max = 1;
    bar.value = probability;
    bar.setAttribute("aria-label", name);
    row.append(make("span", "name", name), make("span", "", `${(100 * probability).toFixed(1)}%`), bar);
    bars.append(row);
  }
  side.append(bars);
}

function showProblem(item, side, text) {
  item.classList.add("unsure");
  side.children[0].textContent = "No answer";
  side.append(make("p", "words", text));
}

get("photograph").hidden = !navigator.maxTouchPoints; // elsewhere it is another way to choose a file
for (const [button, input] of [["choose", "files"], ["photograph", "camera"]]) {
  get(button).addEventListener("click", () => get(input).click());
  get(input).addEventListener("change", event => {
    take(event.target.files);
    event.target.value = "";
  });
}
document.addEventListener("paste", event => take(event.clipboardData.files));
document.addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files);
});
showRun();
