// `fix.csv` as bytes: path, label, exclude. Names that are no UTF-8 keep their very bytes.

function quoted(text) {
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

// A stray byte of a name comes as a lone surrogate, U+DC80 to U+DCFF, and leaves as that byte.
function toBytes(text) {
  const encoder = new TextEncoder();
  const parts = [];
  for (const piece of text.split(/((?<![\ud800-\udbff])[\udc80-\udcff])/)) {
    const code = piece.length === 1 ? piece.charCodeAt(0) : 0;
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Uint8Array.of(code - 0xdc00) : encoder.encode(piece));
  }
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

// The whole table with what was decided: by row a class, or that it is left out.
function fixCsv(table, classes, decisions) {
  const lines = table.map(([path, label], row) => {
    const { relabel, out } = decisions[row] || {};
    const cells = [path, relabel === undefined ? label : classes[relabel], out ? "yes" : ""];
    return cells.map(quoted).join(",") + "\n";
  });
  return toBytes("path,label,exclude\n" + lines.join(""));
}
