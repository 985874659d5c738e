// A long list, a page at a time, so that ten thousand images are as quick as ten.

function paged(list, items, size, drawItem, word = "image") {
  const position = make("span", { "aria-live": "polite" });
  const back = make("button", { type: "button" }, "Previous");
  const on = make("button", { type: "button" }, "Next");
  const pager = make("div", { class: "pager", role: "group", "aria-label": "Pages" }, back, on, position);
  let start = 0;
  const draw = () => {
    list.replaceChildren(...items.slice(start, start + size).map(drawItem));
    const end = Math.min(start + size, items.length);
    position.textContent = `${grouped(start + 1)}–${grouped(end)} of `
      + counted(items.length, word);
    back.disabled = start === 0;
    on.disabled = end === items.length;
  };
  const turn = step => {
    start += step * size;
    draw();
    if (list.getBoundingClientRect().top < 0) list.scrollIntoView({ block: "start" });
    const pressed = step > 0 ? on : back;
    if (pressed.disabled) (step > 0 ? back : on).focus();
  };
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  draw();
  pager.hidden = items.length <= size;
  return make("div", {}, list, pager);
}

function gallery(indices, run, captionOf) {
  const list = make("ul", { class: "gallery" });
  return paged(list, indices, 36, image => make(
    "li", {},
    thumbnail(image, { run, others: indices, kind: isWrong(image, run) ? "wrong-answer" : "" }),
    make("p", {}, named(captionOf(image)))));
}
