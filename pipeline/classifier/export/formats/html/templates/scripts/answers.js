// What is shown of an answer: a sentence, and the most probable classes with a bar each.

const N_SHOWN = 5;
const ANNOUNCE_EVERY = 3000; // milliseconds, at most: the camera's answers never end

let announced = { words: "", at: 0 };

function percent(share) {
  if (share > 0 && share < 0.01) return "<1%";
  if (share < 1 && share > 0.99) return ">99%";
  return Math.round(100 * share) + "%";
}

// Args: answer: { probabilities, distance, milliseconds }.
function showAnswer(answer) {
  const { class_names: names, promise } = facts;
  const kind = judge(answer, promise);
  const order = names.map((_, i) => i)
    .sort((a, b) => answer.probabilities[b] - answer.probabilities[a]).slice(0, N_SHOWN);
  const best = names[order[0]], share = percent(answer.probabilities[order[0]]);
  const headline = { answer: best, unsure: "Unsure", unlike: "Unlike anything seen" }[kind];
  const words = {
    answer: share + " sure",
    unsure: `Perhaps ${best} (${share}), which is not enough for an answer: this model answers from `
      + `${promise && percent(promise.least_confidence)} on.`,
    unlike: `This picture is far from all that the model has learned from, whatever its first guess.`,
  }[kind];
  find("answer").dataset.kind = kind;
  find("headline").textContent = headline;
  find("words").textContent = words;
  find("time").textContent = `Found on this device in ${Math.round(answer.milliseconds)} ms.`;
  showBars(order, answer.probabilities);
  find("empty").hidden = true;
  find("answer").hidden = false;
  announce(kind === "answer" ? `${best}, ${words}` : `${headline}. ${words}`, headline);
}

// A row each, reused, so that bars move from one answer to the next.
function showBars(order, probabilities) {
  const list = find("bars");
  while (list.children.length < order.length) list.append(find("bar").content.cloneNode(true));
  order.forEach((label, place) => {
    const row = list.children[place];
    row.querySelector(".name").textContent = facts.class_names[label];
    row.querySelector(".share").textContent = percent(probabilities[label]);
    row.querySelector(".fill").style.transform = `scaleX(${probabilities[label]})`;
  });
}

// For those who hear the page: what changed, now and then.
function announce(words, headline) {
  const now = performance.now();
  if (headline === announced.headline && live.isOn) return;
  if (live.isOn && now - announced.at < ANNOUNCE_EVERY) return;
  announced = { headline, at: now };
  find("announcer").textContent = words;
}
