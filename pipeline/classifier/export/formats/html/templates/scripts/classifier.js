// The model, in ONNX Runtime's WebAssembly on one thread, and what the run's promise says of it.

let session = null;
let running = Promise.resolve(); // the runtime takes one picture at a time

// Args: onProgress: called with a share, 0..1.
async function loadClassifier(onProgress) {
  const length = name => document.getElementById(name).textContent.length;
  const total = length("runtime") + length("model");
  let done = 0;
  const count = n => onProgress((done += n) / total);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = (await unpack("runtime", count)).buffer;
  ort.env.logLevel = "error";
  const model = await unpack("model", count);
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

// Args: pixels: RGB, Uint8Array (size * size * 3).
// Gives { probabilities, distance }; distance is null where the model has none.
function classifyPixels(pixels, size) {
  const answer = running.then(async () => {
    const image = new ort.Tensor("uint8", pixels, [1, size, size, 3]);
    const found = await session.run({ image });
    return {
      probabilities: Array.from(found.probabilities.data),
      distance: found.distance ? found.distance.data[0] : null,
    };
  });
  running = answer.catch(() => {});
  return answer;
}

// "answer", "unsure" or "unlike", as the run itself would judge; in its 32 bits.
function judge({ probabilities, distance }, promise) {
  if (!promise) return "answer";
  const { least_confidence: least, greatest_distance: greatest } = promise;
  if (greatest !== null && distance !== null && !(distance <= Math.fround(greatest))) return "unlike";
  return Math.max(...probabilities) >= Math.fround(least) ? "answer" : "unsure";
}
