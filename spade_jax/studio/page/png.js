// PNG files, exact to the bit: a canvas would turn ids into colours (ISO 15948).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

async function through(bytes, stream) {
  const piped = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(piped).arrayBuffer());
}

function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length), view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

// Grey of 8 or 16 bits (`channels` 1) or colours of 8 (3); `values` row by row.
export async function encodePng({ width, height, values, channels = 1, depth = 8, texts = {} }) {
  const row = width * channels, step = depth / 8;
  const raw = new Uint8Array(height * (1 + row * step));
  for (let y = 0, at = 0; y < height; y++) {
    at++; // no filter
    for (let x = 0; x < row; x++) {
      const value = values[y * row + x];
      if (step === 2) raw[at++] = value >> 8;
      raw[at++] = value & 255;
    }
  }
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, depth);
  head.setUint8(9, channels === 3 ? 2 : 0);
  const parts = [Uint8Array.from(SIGNATURE), chunk("IHDR", new Uint8Array(head.buffer))];
  for (const [name, text] of Object.entries(texts)) // uncompressed, no language
    parts.push(chunk("iTXt", new TextEncoder().encode(`${name}\0\0\0\0\0${text}`)));
  parts.push(chunk("IDAT", await through(raw, new CompressionStream("deflate"))));
  parts.push(chunk("IEND", new Uint8Array()));
  return new Blob(parts, { type: "image/png" });
}

export function isPng(bytes) {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

// {width, height, channels, depth, values, palette}: the numbers as the file has them.
export async function decodePng(bytes, mostPixels = 5e7) {
  if (!isPng(bytes)) throw new Error("This is no PNG file.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = [];
  let palette = null;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at), name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (name === "PLTE") palette = content.slice();
    if (name === "IDAT") data.push(content);
    at += 12 + length;
  }
  const width = view.getUint32(16), height = view.getUint32(20), depth = bytes[24], kind = bytes[25];
  const channels = CHANNELS[kind];
  if (!channels || bytes[28]) throw new Error("A PNG of a form that is not read here.");
  if (!width || !height || width * height > mostPixels) throw new Error("The picture is too large.");
  const raw = await through(new Blob(data), new DecompressionStream("deflate"));
  const values = unpack(unfilter(raw, width, height, channels * depth), width, height, channels, depth);
  return { width, height, channels, depth, values, palette: kind === 3 ? palette : null };
}

function unfilter(raw, width, height, bitsPerPixel) {
  const row = Math.ceil((width * bitsPerPixel) / 8), before = Math.max(1, bitsPerPixel >> 3);
  const out = new Uint8Array(row * height);
  if (raw.length < height * (row + 1)) throw new Error("The picture is cut short.");
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)], from = y * (row + 1) + 1, to = y * row;
    for (let x = 0; x < row; x++) {
      const a = x >= before ? out[to + x - before] : 0, b = y ? out[to + x - row] : 0;
      const c = x >= before && y ? out[to + x - row - before] : 0;
      out[to + x] = raw[from + x] + [0, a, b, (a + b) >> 1, paeth(a, b, c)][filter];
    }
  }
  return out;
}

function paeth(a, b, c) {
  const p = a + b - c, [pa, pb, pc] = [a, b, c].map((x) => Math.abs(p - x));
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

function unpack(bytes, width, height, channels, depth) {
  const count = width * channels, row = Math.ceil((count * depth) / 8);
  return Uint16Array.from({ length: count * height }, (_, i) => {
    const x = i % count, at = ((i - x) / count) * row;
    if (depth === 16) return (bytes[at + 2 * x] << 8) | bytes[at + 2 * x + 1];
    const shift = 8 - depth - ((x * depth) % 8);
    return (bytes[at + ((x * depth) >> 3)] >> shift) & ((1 << depth) - 1);
  });
}
