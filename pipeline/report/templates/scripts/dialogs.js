// Two dialogs: one image with all that is known of it, and the images of a cell, a class, a lasso.

function openDialog(heading, ...children) {
  const close = make("button", { type: "button" }, "Close");
  const title = make("h2", { id: "dialog-" + Date.now() + "-" + Math.random().toString(36).slice(2) }, heading);
  const dialog = make(
    "dialog", { "aria-labelledby": title.id },
    make("header", {}, title, close), make("div", { class: "inside" }, ...children));
  const opener = document.activeElement;
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    hideTip();
    document.body.append(tip);
    dialog.remove();
    if (opener && opener.isConnected) opener.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function openImages(heading, indices, run, note = "") {
  openDialog(
    heading,
    make("p", { class: "soft small" }, note || counted(indices.length, "image")),
    indices.length ? gallery(indices, run, image => verdictOf(image, run)) : "");
}

function factsOf(image) {
  const facts = [["Path", images.path[image]], ["Label", className(images.label[image])]];
  if (images.split[image]) facts.push(["Split", images.split[image]]);
  images.called[image].forEach((called, run) => {
    if (isNothing(called)) return;
    const name = images.called[image].length > 1 ? data.runs[run].name : "Taken for";
    facts.push([name, `${className(called)} (${percent(images.probability[image][run])})`]);
  });
  return make("dl", { class: "facts" }, ...facts.map(([name, value]) => make(
    "div", {}, named(name, "dt"), named(value, "dd"))));
}

function openImage(first, others, run) {
  const inside = make("div");
  const back = make("button", { type: "button" }, "Previous");
  const on = make("button", { type: "button" }, "Next");
  const position = make("span", { "aria-live": "polite" });
  let place = Math.max(0, others.indexOf(first));
  const draw = () => {
    const image = others[place];
    const beside = neighboursOf(image, run);
    inside.replaceChildren(make(
      "div", { class: "portrait" },
      picture(image, { class: "large", role: "img", "aria-hidden": "false", "aria-label": images.path[image] }),
      make(
        "div", {}, factsOf(image),
        make("div", { class: "tools" }, copyButton("Copy the path", () => images.path[others[place]])),
        ...(beside.length ? [make("h3", {}, "Most like it"), besideEach(beside, run)] : []))));
    back.disabled = place === 0;
    on.disabled = place === others.length - 1;
    position.textContent = `${place + 1} of ${grouped(others.length)}`;
  };
  const turn = step => {
    place = Math.max(0, Math.min(others.length - 1, place + step));
    draw();
  };
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  draw();
  const pager = make("div", { class: "pager", role: "group", "aria-label": "Images" }, back, on, position);
  pager.hidden = others.length < 2;
  const dialog = openDialog("Image", inside, pager);
  dialog.addEventListener("keydown", event => {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
}

// Small pictures in a row; those whose class is `marked` are underlined.
function besideEach(indices, run, marked = null) {
  return make("div", { class: "beside" }, ...indices.map(image => thumbnail(image, {
    run, others: indices, kind: marked !== null && images.label[image] === marked ? "same" : "",
  })));
}
