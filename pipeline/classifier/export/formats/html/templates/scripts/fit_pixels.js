// Any picture to the pixels that the network sees, the same as Frostline's decoder makes them:
// shrunk by a whole factor where it is far larger, then Pillow's bilinear filter with antialiasing,
// in its integers (Reduce.c and Resample.c of Pillow).

const STRIP_PIXELS = 1 << 20; // of a picture, read at a time: a phone has little memory
const REDUCING_GAP = 3; // whole factors shrink to so many times the wanted size, not further
const DRAFT_GAP = 2; // likewise of JPEGs, by 2, 4 or 8
const FRACTION_BITS = 22; // of the filter's weights

// Args: source: { width, height, isJpeg, readRows(top, n) }, which gives RGBA of n rows.
//       input: { size, resize, background }.
// Gives RGB, Uint8Array (size * size * 3).
function fitPixels(source, input) {
  const { size, resize, background } = input;
  const drafted = source.isJpeg ? findDraft(source, size, resize) : 1;
  const shown = { width: source.width / drafted, height: source.height / drafted };
  const { box, width, height } = fit(shown, size, resize);
  const across = Math.trunc((box.right - box.left) / width / REDUCING_GAP) || 1;
  const down = Math.trunc((box.bottom - box.top) / height / REDUCING_GAP) || 1;
  let picture = drafted > 1
    ? reduce(readReduced(source, drafted, drafted), across, down)
    : readReduced(source, across, down);
  picture = resample(picture, {
    left: Math.min(box.left / across, picture.width),
    top: Math.min(box.top / down, picture.height),
    right: Math.min(box.right / across, picture.width),
    bottom: Math.min(box.bottom / down, picture.height),
  }, width, height);
  return resize === "pad" ? pad(picture, size, background) : picture.data;
}

// The part of a picture that is used, and the size that it becomes.
function fit({ width, height }, size, resize) {
  const whole = { left: 0, top: 0, right: width, bottom: height };
  if (resize === "crop") {
    const side = Math.min(width, height);
    const left = (width - side) / 2, top = (height - side) / 2;
    return { box: { left, top, right: left + side, bottom: top + side }, width: size, height: size };
  }
  if (resize === "pad") {
    const longer = Math.max(width, height);
    const scaled = length => Math.max(1, roundHalfToEven(size * length / longer));
    return { box: whole, width: scaled(width), height: scaled(height) };
  }
  return { box: whole, width: size, height: size };
}

function findDraft(source, size, resize) {
  const { box, width, height } = fit(source, size, resize);
  const surplus = Math.min((box.right - box.left) / width, (box.bottom - box.top) / height) / DRAFT_GAP;
  return [8, 4, 2].find(scale => scale <= surplus) || 1;
}

function roundHalfToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

// A picture without its transparency, each square of pixels as one; in strips.
function readReduced(source, across, down) {
  const width = Math.ceil(source.width / across), height = Math.ceil(source.height / down);
  const data = new Uint8Array(width * height * 3);
  const n = Math.max(1, Math.floor(STRIP_PIXELS / source.width / down)) * down;
  for (let top = 0; top < source.height; top += n) {
    const rows = Math.min(n, source.height - top);
    const strip = { width: source.width, height: rows, data: source.readRows(top, rows) };
    reduceInto(data.subarray(top / down * width * 3), strip, 4, across, down);
  }
  return { width, height, data };
}

function reduce(picture, across, down) {
  if (across === 1 && down === 1) return picture;
  const width = Math.ceil(picture.width / across), height = Math.ceil(picture.height / down);
  const data = new Uint8Array(width * height * 3);
  reduceInto(data, picture, 3, across, down);
  return { width, height, data };
}

// Means, rounded as Pillow's `reduce` rounds; squares at the edge may be smaller.
function reduceInto(data, picture, stride, across, down) {
  let place = 0;
  for (let top = 0; top < picture.height; top += down) {
    const bottom = Math.min(top + down, picture.height);
    for (let left = 0; left < picture.width; left += across) {
      const right = Math.min(left + across, picture.width);
      const count = (right - left) * (bottom - top);
      let red = count >> 1, green = red, blue = red;
      for (let y = top; y < bottom; y++) {
        let at = (y * picture.width + left) * stride;
        for (let x = left; x < right; x++, at += stride) {
          red += picture.data[at];
          green += picture.data[at + 1];
          blue += picture.data[at + 2];
        }
      }
      const factor = Math.trunc(Math.fround(2 ** 24 / count));
      data[place++] = red * factor >>> 24;
      data[place++] = green * factor >>> 24;
      data[place++] = blue * factor >>> 24;
    }
  }
}

// Across, then down, each rounded to 8 bits; a side that stays as it is, is left alone.
function resample(picture, box, width, height) {
  const data = picture.data;
  const isWide = box.left === 0 && box.right === picture.width && width === picture.width;
  const isHigh = box.top === 0 && box.bottom === picture.height && height === picture.height;
  const rows = weigh(picture.height, box.top, box.bottom, height);
  const first = isHigh ? 0 : rows[0].first;
  const last = isHigh ? height : rows[height - 1].first + rows[height - 1].weights.length;
  let across = { width: picture.width, height: last - first,
    data: data.subarray(first * picture.width * 3, last * picture.width * 3) };
  if (!isWide) across = filterAcross(across, weigh(picture.width, box.left, box.right, width));
  return isHigh ? across : filterDown(across, rows, first);
}

// For each new pixel the first old one that counts, and the weights of it and those after it.
function weigh(length, start, end, newLength) {
  const from = Math.fround(start);
  const scale = Math.fround(Math.fround(end) - from) / newLength;
  const support = Math.max(scale, 1);
  return Array.from({ length: newLength }, (_, place) => {
    const centre = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) {
      const away = Math.abs((i + first - centre + 0.5) * (1 / support));
      weights[i] = away < 1 ? 1 - away : 0;
      sum += weights[i];
    }
    const whole = weight => Math.trunc(0.5 + weight / sum * (1 << FRACTION_BITS));
    return { first, weights: Int32Array.from(weights, whole) };
  });
}

function filterAcross(picture, columns) {
  const width = columns.length, data = new Uint8Array(width * picture.height * 3);
  for (let y = 0, place = 0; y < picture.height; y++) {
    const row = y * picture.width;
    for (const { first, weights } of columns) {
      let red = 1 << (FRACTION_BITS - 1), green = red, blue = red;
      for (let i = 0, at = (row + first) * 3; i < weights.length; i++, at += 3) {
        const weight = weights[i];
        red += picture.data[at] * weight;
        green += picture.data[at + 1] * weight;
        blue += picture.data[at + 2] * weight;
      }
      data[place++] = toByte(red);
      data[place++] = toByte(green);
      data[place++] = toByte(blue);
    }
  }
  return { width, height: picture.height, data };
}

function filterDown(picture, rows, top) {
  const length = picture.width * 3, data = new Uint8Array(length * rows.length);
  rows.forEach(({ first, weights }, y) => {
    for (let x = 0; x < length; x++) {
      let sum = 1 << (FRACTION_BITS - 1);
      for (let i = 0, at = (first - top) * length + x; i < weights.length; i++, at += length) {
        sum += picture.data[at] * weights[i];
      }
      data[y * length + x] = toByte(sum);
    }
  });
  return { width: picture.width, height: rows.length, data };
}

function toByte(sum) {
  return Math.min(255, sum >> FRACTION_BITS);
}

function pad(picture, size, background) {
  const data = new Uint8Array(size * size * 3);
  for (let i = 0; i < data.length; i++) data[i] = background[i % 3];
  const left = (size - picture.width) >> 1, top = (size - picture.height) >> 1;
  const length = picture.width * 3;
  for (let y = 0; y < picture.height; y++) {
    const row = picture.data.subarray(y * length, (y + 1) * length);
    data.set(row, ((top + y) * size + left) * 3);
  }
  return data;
}
