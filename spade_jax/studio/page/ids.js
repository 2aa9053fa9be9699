// Class ids: Uint16Array of width x height, row by row. Never colours, so that no
// smoothing can spoil a label. Runs are pairs of (u16 id, u16 length), little-endian,
// as spade_jax/studio/protocol.py has them.

const LONGEST = 65535;

export function encodeRuns(ids) {
  const words = [];
  for (let i = 0; i < ids.length; ) {
    let end = i + 1;
    while (end < ids.length && ids[end] === ids[i] && end - i < LONGEST) end++;
    words.push(ids[i], end - i);
    i = end;
  }
  const bytes = new DataView(new ArrayBuffer(2 * words.length));
  words.forEach((word, i) => bytes.setUint16(2 * i, word, true));
  return new Uint8Array(bytes.buffer);
}

export function decodeRuns(bytes, length) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ids = new Uint16Array(length);
  let filled = 0;
  for (let i = 0; i + 4 <= view.byteLength; i += 4) {
    const end = filled + view.getUint16(i + 2, true);
    if (end > length) throw new Error("The layout has more pixels than it should.");
    ids.fill(view.getUint16(i, true), filled, end);
    filled = end;
  }
  if (filled !== length) throw new Error("The layout has fewer pixels than it should.");
  return ids;
}

// The pixels that each class holds.
export function counts(ids, classes) {
  const found = new Uint32Array(classes);
  for (const id of ids) if (id < classes) found[id]++;
  return found;
}

// Ids of another size, by the rule floor(i * from / to) along each side.
export function resize(ids, from, to) {
  if (from.width === to.width && from.height === to.height) return ids;
  const out = new Uint16Array(to.width * to.height);
  for (let y = 0; y < to.height; y++) {
    const row = Math.floor((y * from.height) / to.height) * from.width;
    for (let x = 0; x < to.width; x++)
      out[y * to.width + x] = ids[row + Math.floor((x * from.width) / to.width)];
  }
  return out;
}

export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// "Unknown", the last class where there is one, has a number of its own in files.
export function toStored(ids, { classes, unknown_label: unknown = null }) {
  return Uint16Array.from(ids, (id) => (unknown !== null && id === classes.length - 1 ? unknown : id));
}

// The other way; null where a number is of no class.
export function fromStored(values, { classes, unknown_label: unknown = null }) {
  const named = classes.length - (unknown === null ? 0 : 1);
  const ids = Uint16Array.from(values, (value) => (value === unknown ? named : value));
  return values.every((value) => value === unknown || value < named) ? ids : null;
}
