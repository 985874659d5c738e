// Whether this device computes what the machine computed that made the page: on pictures that both
// make of a number, so that none of the images that the model learned from goes along.

const N_SQUARES = 8; // along each side

// As `make_test_picture` of made_pictures.py makes it.
function makeTestPicture(seed, size) {
  const colours = new Uint8Array(N_SQUARES * N_SQUARES * 3);
  let state = seed;
  for (let i = 0; i < colours.length; i++) {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    colours[i] = state >>> 24;
  }
  const pixels = new Uint8Array(size * size * 3);
  const squareOf = place => Math.floor(place * N_SQUARES / size);
  for (let i = 0; i < size * size; i++) {
    const square = squareOf(Math.floor(i / size)) * N_SQUARES + squareOf(i % size);
    pixels.set(colours.subarray(square * 3, square * 3 + 3), i * 3);
  }
  return pixels;
}

// Gives the greatest difference of a probability.
async function checkDevice({ input, reference }) {
  let greatest = 0;
  for (const { seed, probabilities: expected } of reference) {
    const { probabilities } = await classifyPixels(makeTestPicture(seed, input.size), input.size);
    probabilities.forEach((value, i) => {
      const difference = Math.abs(value - expected[i]);
      greatest = Math.max(greatest, difference <= 1 ? difference : 1); // 1 for what is no number
    });
  }
  return greatest;
}
