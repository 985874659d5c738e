// Pointer and keys on the map: read a point, draw around some, move when near; list what was chosen.

function isInside(x, y, line) {
  let inside = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [[ax, ay], [bx, by]] = [line[i], line[j]];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

function listenToPointer({ points, view, state, isShown, over, go, choose, paint, paintOver }) {
  let start = null; // where a finger or button went down, and what was in view then
  const placeOf = event => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  over.addEventListener("pointerdown", event => {
    const [x, y] = placeOf(event);
    start = { x, y, viewX: view.x, viewY: view.y, isMoved: false };
    if (state.isLasso) {
      state.line = [[x, y]];
      hideTip();
      over.setPointerCapture(event.pointerId);
    }
  });
  over.addEventListener("pointermove", event => {
    const [x, y] = placeOf(event);
    if (start && Math.hypot(x - start.x, y - start.y) > 4) start.isMoved = true;
    if (start && state.isLasso) {
      state.line.push([x, y]);
      paintOver();
    } else if (start && start.isMoved && view.zoom > 1) {
      view.x = start.viewX - (x - start.x) / view.width / view.zoom;
      view.y = start.viewY - (y - start.y) / view.height / view.zoom;
      keepInside(view);
      paint();
    } else {
      const point = nearestPoint(points, x, y, view, isShown, 14);
      if (point !== state.current) go(point, event);
    }
  });
  over.addEventListener("pointerup", event => {
    const [x, y] = placeOf(event);
    const isClick = start && !start.isMoved;
    if (start && state.isLasso && start.isMoved) {
      const line = state.line;
      choose(points.filter(point => isShown(point) && isInside(...positionOf(point, view), line)));
    } else if (isClick) {
      const point = nearestPoint(points, x, y, view, isShown, 14);
      if (point) openImage(point.image, [point.image], state.run);
    }
    state.line = [];
    start = null;
    paintOver();
  });
  over.addEventListener("pointerleave", () => { if (!start) go(null); });
  over.addEventListener("pointercancel", () => { start = null; state.line = []; paintOver(); });
  over.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return; // a page scrolls
    event.preventDefault();
    zoomAround(view, Math.exp(-event.deltaY / 200), ...placeOf(event));
    paint();
  }, { passive: false });
}

function listenToKeys({ points, view, state, isShown, over, go, choose, paint }) {
  const showInView = point => {
    const [x, y] = positionOf(point, view);
    if (x >= 0 && y >= 0 && x <= view.width && y <= view.height) return;
    view.x = point.x - 0.5 / view.zoom;
    view.y = 1 - point.y - 0.5 / view.zoom;
    keepInside(view);
    paint();
  };
  over.addEventListener("focus", () => {
    if (!over.matches(":focus-visible") || state.current) return;
    const first = nearestPoint(points, view.width / 2, view.height / 2, view, isShown, Infinity);
    if (first) go(first);
  });
  over.addEventListener("blur", () => go(null));
  over.addEventListener("keydown", event => {
    const current = state.current;
    const shown = points.filter(isShown);
    let next = null;
    if (event.key.startsWith("Arrow") && current) {
      next = pointTowards(points, current, event.key, view, isShown);
    } else if (event.key.toLowerCase() === "m") {
      const wrong = shown.filter(point => isWrong(point.image, state.run));
      next = wrong[(wrong.indexOf(current) + 1) % wrong.length];
    } else if (event.key === " " && current) {
      const chosen = new Set(state.chosen);
      if (!chosen.delete(current)) chosen.add(current);
      event.preventDefault();
      choose(chosen);
      announce(counted(chosen.size, "image") + " chosen");
    } else if (event.key === "Enter" && current) {
      event.preventDefault(); // or the dialog's button, focused by then, would get it
      openImage(current.image, [current.image], state.run);
    }
    if (!next) return;
    event.preventDefault();
    showInView(next);
    go(next);
  });
}

// The paths of what was chosen, a hundred at a time, to copy and to look at.
function listChosen(place, points, run, forget) {
  if (points.length === 0) return place.replaceChildren();
  const own = points.map(point => point.image);
  const paths = own.map(image => images.path[image]);
  const heading = counted(own.length, "image") + " chosen";
  place.replaceChildren(make(
    "div", { class: "chosen", role: "region", "aria-label": "Chosen images" }, make("h3", {}, heading),
    make(
      "div", { class: "tools" }, copyButton("Copy the paths", () => paths.join("\n")),
      make("button", { type: "button", onclick: () => openImages(heading, own, run) }, "Look at them"),
      make("button", { type: "button", onclick: forget }, "Forget them")),
    paged(make("ol"), paths, 100, path => named(path, "li"))));
  announce(heading);
}
