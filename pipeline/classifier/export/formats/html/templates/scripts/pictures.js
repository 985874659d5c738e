// Pictures as pixels: of a file, upright and in sRGB as the browser shows them, or of the camera.

class PictureError extends Error {}

// Gives a picture to read pixels from; `close` it afterwards.
async function openPicture(file) {
  const start = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  if (file.size === 0) throw new PictureError("This file is empty.");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PictureError(isHeif(start)
      ? "This browser cannot open HEIC pictures. Save it as a JPEG: on an iPhone, Settings, Camera, "
        + "Formats, Most Compatible makes new ones so."
      : "This is no picture that this browser can open. Expected a JPEG, PNG, WebP, GIF, AVIF or BMP.");
  }
  const isJpeg = start[0] === 0xff && start[1] === 0xd8;
  return { ...toSource(bitmap, bitmap.width, bitmap.height, isJpeg), bitmap, close: () => bitmap.close() };
}

// The first bytes of a box `ftyp` with a brand of HEIF, https://nokiatech.github.io/heif/technical.html
function isHeif(start) {
  const text = String.fromCharCode(...start.subarray(4, 12));
  return /^ftyp(hei|hev|mif1|msf1)/.test(text);
}

// Args: drawable: what a canvas can draw; width, height: its size in pixels.
function toSource(drawable, width, height, isJpeg = false, background = facts.input.background) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  return {
    width,
    height,
    isJpeg,
    // In strips: a canvas as large as a phone's photo is refused by some phones.
    readRows(top, n) {
      if (canvas.width !== width || canvas.height !== n) Object.assign(canvas, { width, height: n });
      context.fillStyle = `rgb(${background.join(" ")})`;
      context.fillRect(0, 0, width, n);
      context.drawImage(drawable, 0, -top);
      return context.getImageData(0, 0, width, n).data;
    },
  };
}
