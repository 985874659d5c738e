// One small note that follows what is pointed at or focused. Esc hides it.

const tip = make("div", { id: "tip", role: "tooltip", hidden: true });
document.body.append(tip);

let whereTip = () => [0, 0]; // in the window, now: what is pointed at may scroll

function showTip(children, whereOf) {
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) || document.body;
  if (tip.parentNode !== host) host.append(tip);
  tip.replaceChildren(...children);
  tip.hidden = false;
  whereTip = whereOf;
  placeTip();
}

function placeTip() {
  const [x, y] = whereTip();
  const { width, height } = tip.getBoundingClientRect();
  const space = 12;
  const left = x + space + width > innerWidth ? x - space - width : x + space;
  const top = y + space + height > innerHeight ? y - space - height : y + space;
  tip.style.left = Math.max(4, Math.min(left, innerWidth - width - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(top, innerHeight - height - 4)) + "px";
}

function hideTip() {
  tip.hidden = true;
}

function tipFor(element, childrenOf) {
  const show = () => showTip(childrenOf(), () => {
    const box = element.getBoundingClientRect();
    return [box.left + box.width / 2, box.bottom - 6];
  });
  element.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") show(); });
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("focus", () => { if (element.matches(":focus-visible")) show(); });
  element.addEventListener("blur", hideTip);
  element.addEventListener("click", hideTip);
}

document.addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });
document.addEventListener("scroll", () => { if (!tip.hidden) placeTip(); }, { passive: true, capture: true });
