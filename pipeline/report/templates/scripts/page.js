// What every page needs: elements, numbers in words, the list of contents, copying.

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && !isNothing(value)) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => !isNothing(child)));
  return element;
}

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function named(text, tag = "span") {
  return make(tag, { class: "name", dir: "auto" }, text);
}

function isNothing(value) {
  return value === null || value === undefined;
}

function percent(share, digits = 1) {
  return isNothing(share) ? "–" : (100 * share).toFixed(digits) + "%";
}

function interval(low, high) {
  return isNothing(low) || isNothing(high)
    ? "" : (100 * low).toFixed(1) + "–" + (100 * high).toFixed(1) + "%";
}

// 12345 as 12,345
function grouped(number) {
  return number.toLocaleString("en");
}

function counted(number, word) {
  const ending = number === 1 ? "" : word.endsWith("s") ? "es" : "s";
  return grouped(number) + " " + word + ending;
}

// At most four digits that count: 0.8123, 12.5, 1,500, 3.2e-5.
function figure(value) {
  if (isNothing(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return Number(value.toPrecision(3)).toExponential();
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages from a disk or over plain HTTP may have no clipboard of their own.
    const area = make("textarea", { class: "unseen", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function copyButton(words, textOf) {
  const button = make("button", { type: "button" }, words);
  button.addEventListener("click", async () => {
    const done = await copyText(textOf());
    button.focus();
    button.textContent = done ? "Copied" : "Could not copy: select and press Ctrl+C";
    announce(button.textContent);
    setTimeout(() => { button.textContent = words; }, 2000);
  });
  return button;
}

// A table that scrolls in its own box where the page is narrow. Headings: texts or elements.
function makeTable(label, headings, body, kind = "") {
  const cells = headings.map(heading => typeof heading === "string"
    ? make("th", { scope: "col", class: "name" }, heading) : heading);
  return make(
    "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    make("table", { class: kind }, make("thead", {}, make("tr", {}, ...cells)), body));
}

let contentsObserver = null;

// Links to the sections that have something in them; the one in view is marked.
function listContents() {
  const list = document.querySelector(".contents ol");
  const sections = [...document.querySelectorAll("main > section[aria-labelledby]")]
    .filter(section => !section.hidden);
  const links = new Map(sections.map(section => {
    const heading = document.getElementById(section.getAttribute("aria-labelledby"));
    return [section, make("a", { href: "#" + section.id }, heading.textContent)];
  }));
  list.replaceChildren(...[...links.values()].map(link => make("li", {}, link)));
  const inView = new Set();
  if (contentsObserver) contentsObserver.disconnect();
  contentsObserver = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (entry.isIntersecting) inView.add(entry.target); else inView.delete(entry.target);
    }
    const current = sections.find(section => inView.has(section));
    for (const [section, link] of links) {
      if (section === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-10% 0px -70% 0px" });
  sections.forEach(section => contentsObserver.observe(section));
}
