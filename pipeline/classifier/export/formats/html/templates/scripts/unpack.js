// What lies in the page, packed: base64 of gzip, so that nothing has to be fetched.

const CHUNK = 1 << 20; // characters, a multiple of 4

// Args: name: of the element, which is emptied; onProgress: called with the number of characters
// that were read. Gives a Uint8Array.
async function unpack(name, onProgress) {
  const element = document.getElementById(name);
  const text = element.textContent;
  element.remove();
  let start = 0;
  const packed = new ReadableStream({
    pull(controller) {
      if (start >= text.length) return controller.close();
      const bytes = fromBase64(text.slice(start, start + CHUNK));
      start += CHUNK;
      onProgress(Math.min(CHUNK, text.length - start + CHUNK));
      controller.enqueue(bytes);
    },
  });
  const plain = packed.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

function fromBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
