// The page: a picture comes by drop, choice, paste or camera, and its answer is shown.

const facts = JSON.parse(document.getElementById("facts").textContent);
const find = name => document.getElementById(name);
const live = { isOn: false };
const SHARE_OF_TIME = 0.5; // at most, that the camera's answers keep the device busy
const PAUSE = 150; // milliseconds between two of them, at least

const TOLERANCE = 1e-3; // of a probability

let shown = 0; // number of the newest picture: an answer to an older one is not shown

const ready = loadClassifier(showProgress)
  .then(() => checkDevice(facts)).then(showReady, showBroken);

function showProgress(share) {
  find("progress").value = share;
}

// Args: difference: of this device to the one that made the page, of a probability at most.
function showReady(difference) {
  find("loading").hidden = true;
  document.body.dataset.state = "ready";
  if (difference > TOLERANCE) {
    return complain("On this device the model says something else than where it was made: "
      + `probabilities differ by ${difference.toPrecision(2)}. Do not rely on its answers here.`);
  }
  find("checked").textContent = "Checked on this device when the page was opened: on "
    + `${facts.reference.length} test pictures the model says what it said where it was made; `
    + `probabilities differ by ${difference.toExponential(0)} at most.`;
}

function showBroken(error) {
  find("loading").hidden = true;
  document.body.dataset.state = "broken";
  const isOld = typeof DecompressionStream === "undefined" || typeof WebAssembly === "undefined";
  complain(isOld
    ? "This browser is too old for this page. Chrome 95, Firefox 113 and Safari 16.4 can, and newer ones."
    : "The model could not be started here: " + error.message);
  throw error;
}

function complain(words) {
  find("complaint").textContent = words;
  find("complaint").hidden = !words;
}

function classify(source) {
  return classifyPixels(fitPixels(source, facts.input), facts.input.size);
}

async function takeFile(file) {
  stopLive();
  complain("");
  const number = ++shown;
  try {
    const picture = await openPicture(file);
    try {
      if (number !== shown) return;
      showPicture(picture.bitmap, file.name);
      document.body.dataset.busy = "";
      await ready;
      await nextFrame();
      const started = performance.now();
      const answer = await classify(picture);
      if (number === shown) showAnswer({ ...answer, milliseconds: performance.now() - started });
    } finally {
      picture.close();
    }
  } catch (error) {
    if (number === shown) complain(describe(error, file));
  } finally {
    if (number === shown) delete document.body.dataset.busy;
  }
}

function describe(error, file) {
  const named = file && file.name ? `${file.name}: ` : "";
  if (error instanceof PictureError) return named + error.message;
  return named + "This picture could not be classified here: " + error.message;
}

// Once what was just shown is on the screen.
function nextFrame() {
  return new Promise(resolve => { requestAnimationFrame(() => setTimeout(resolve)); });
}

function showPicture(drawable, name) {
  const canvas = find("picture"), most = 1600;
  const width = drawable.videoWidth || drawable.width, height = drawable.videoHeight || drawable.height;
  const scale = Math.min(1, most / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(drawable, 0, 0, canvas.width, canvas.height);
  setRatio(width, height);
  canvas.setAttribute("aria-label", name ? `Your picture, ${name}` : "Your picture");
  showStage("picture");
}

// The stage takes the shape of what is shown, within reason.
function setRatio(width, height) {
  const ratio = facts.input.resize === "crop" ? 1 : width / height;
  find("stage").style.setProperty("--ratio", Math.min(1.8, Math.max(1, ratio)));
}

// One of "invitation", "picture" and "video".
function showStage(what) {
  for (const name of ["invitation", "picture", "video"]) find(name).hidden = name !== what;
  find("stage").dataset.shows = what;
}

async function startLive() {
  complain("");
  const number = ++shown, video = find("video");
  try {
    await startCamera(video);
  } catch (error) {
    showLiveButtons(false);
    if (find("video").hidden === false) showStage("invitation");
    return complain(describe(error));
  }
  live.isOn = true;
  setRatio(video.videoWidth, video.videoHeight);
  showStage("video");
  showLiveButtons(true);
  find("turn").hidden = !await hasSeveralCameras();
  find("shutter").focus();
  await ready;
  while (live.isOn && number === shown) await lookOnce(video, number);
}

async function lookOnce(video, number) {
  const started = performance.now();
  try {
    const answer = await classify(toSource(video, video.videoWidth, video.videoHeight));
    const milliseconds = performance.now() - started;
    if (live.isOn && number === shown) showAnswer({ ...answer, milliseconds });
    await sleep(Math.max(PAUSE, milliseconds / SHARE_OF_TIME - milliseconds));
  } catch (error) {
    stopLive();
    complain(describe(error));
  }
}

function sleep(milliseconds) {
  return new Promise(resolve => { setTimeout(resolve, milliseconds); });
}

// Keeps the frame that is there, and its answer.
async function holdFrame() {
  const video = find("video"), number = ++shown;
  showPicture(video);
  stopLive();
  await ready;
  const canvas = find("picture"), started = performance.now();
  const answer = await classify(toSource(canvas, canvas.width, canvas.height));
  if (number === shown) showAnswer({ ...answer, milliseconds: performance.now() - started });
}

function stopLive() {
  if (!live.isOn) return;
  live.isOn = false;
  stopCamera(find("video"));
  showLiveButtons(false);
  if (!find("video").hidden) showStage("invitation");
}

function showLiveButtons(isLive) {
  find("ways").hidden = isLive;
  find("controls").hidden = !isLive;
}

function wire() {
  const takeFirst = files => { if (files && files.length) takeFile(files[0]); };
  for (const [button, input] of [["choose", "file"], ["photograph", "capture"]]) {
    find(button).addEventListener("click", () => find(input).click());
    find(input).addEventListener("change", event => {
      takeFirst([...event.target.files]);
      event.target.value = "";
    });
  }
  find("live").addEventListener("click", startLive);
  find("shutter").addEventListener("click", holdFrame);
  find("stop").addEventListener("click", () => { shown++; stopLive(); find("live").focus(); });
  find("turn").addEventListener("click", () => { turnCamera(); startLive(); });
  const canLive = canUseCamera();
  find("live").hidden = !canLive;
  find("photograph").hidden = canLive && !matchMedia("(pointer: coarse)").matches;
  wireDropAndPaste(takeFirst);
}

function wireDropAndPaste(takeFirst) {
  const stage = find("stage");
  addEventListener("dragover", event => { event.preventDefault(); stage.dataset.over = ""; });
  addEventListener("dragleave", event => { if (!event.relatedTarget) delete stage.dataset.over; });
  addEventListener("drop", event => {
    event.preventDefault();
    delete stage.dataset.over;
    if (event.dataTransfer.files.length) takeFirst(event.dataTransfer.files);
    else complain("What was dropped is no file. Save the picture first, then drop or choose it.");
  });
  addEventListener("paste", event => {
    if (event.clipboardData.files.length) takeFirst(event.clipboardData.files);
    else complain("What was pasted is no picture.");
  });
}

document.body.dataset.resize = facts.input.resize;
wire();

// For programs that check the page: pixels in, numbers out.
window.frostline = {
  ready,
  facts,
  classifyPixels: async pixels => { await ready; return classifyPixels(pixels, facts.input.size); },
  classifyFile: async file => {
    await ready;
    const picture = await openPicture(file);
    try {
      return await classify(picture);
    } finally {
      picture.close();
    }
  },
  // RGBA and its size to what the network would see of it.
  fitPixels: (rgba, width, height, input = facts.input) => fitPixels({
    width, height, isJpeg: false,
    readRows: (top, n) => rgba.subarray(top * width * 4, (top + n) * width * 4),
  }, input),
};
