"use strict";
// Draws openapi.json: what each address takes and answers, with examples.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeTable(rows) {
  const table = make("table");
  for (const [name, words] of rows) {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    row.append(head, make("td", "", words));
    table.append(row);
  }
  return table;
}

function listExamples(content) {
  return Object.values(content || {}).flatMap(one => [
    ...Object.values(one.examples || {}).map(example => example.value),
    ...(one.example === undefined ? [] : [one.example]),
  ]);
}

function drawWay(path, method, way) {
  const section = make("section", "way");
  const heading = make("h2", "", `${way.summary} `);
  heading.append(make("code", "", `${method.toUpperCase()} ${path}`));
  section.append(heading);
  const body = way.requestBody;
  if (body) {
    const kinds = Object.keys(body.content).join(", ");
    section.append(make("p", "", `${body.description} Content types: ${kinds}.`));
  }
  const parameters = (way.parameters || []).map(one => [`?${one.name}=`, one.description]);
  if (parameters.length) section.append(makeTable(parameters));
  for (const example of way["x-examples"] || []) {
    section.append(make("pre", "", example.replaceAll("http://127.0.0.1:8000", location.origin)));
  }
  section.append(make("h3", "", "Answers"));
  const answers = Object.entries(way.responses).filter(([status]) => status !== "422");
  section.append(makeTable(answers.map(([status, answer]) => [status, answer.description])));
  for (const example of listExamples(way.responses["200"].content)) {
    const text = typeof example === "string" ? example : JSON.stringify(example, null, 1);
    section.append(make("pre", "", text));
  }
  return section;
}

async function draw() {
  const found = await (await fetch("/openapi.json")).json();
  const main = document.getElementById("main");
  main.append(make("p", "sentence", found.info.description.replaceAll("`", "")));
  for (const [path, ways] of Object.entries(found.paths)) {
    for (const [method, way] of Object.entries(ways)) main.append(drawWay(path, method, way));
  }
}
draw();
