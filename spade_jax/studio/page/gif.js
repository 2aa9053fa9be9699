// GIF files (GIF89a): the 256 colours of a cube, dithered by a pattern, and LZW.

const [R, G, B] = [6, 7, 6];
// A pattern of thresholds (Bayer, 1973), -0.5 to 0.5.
const PATTERN = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map((x) => (x + 0.5) / 16 - 0.5);

// `frames` are RGBA of each pixel; `delays` in hundredths of a second.
export function encodeGif(frames, { width, height, delays }) {
  const out = new Bytes();
  out.text("GIF89a").word(width).word(height).push(0xf7, 0, 0);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = [Math.floor(i / (G * B)), Math.floor(i / B) % G, i % B];
    out.push(...(r < R ? [(255 * r) / (R - 1), (255 * g) / (G - 1), (255 * b) / (B - 1)].map(Math.round) : [0, 0, 0]));
  }
  out.push(0x21, 0xff, 11).text("NETSCAPE2.0").push(3, 1, 0, 0, 0);
  frames.forEach((pixels, i) => {
    out.push(0x21, 0xf9, 4, 4).word(delays[i]).push(0, 0);
    out.push(0x2c).word(0).word(0).word(width).word(height).push(0, 8);
    out.blocks(lzw(indices(pixels, width)));
  });
  return out.push(0x3b).done();
}

function indices(pixels, width) {
  return Uint8Array.from({ length: pixels.length / 4 }, (_, i) => {
    const x = i % width, y = (i - x) / width, shift = PATTERN[(y & 3) * 4 + (x & 3)];
    const level = (k, n) => Math.max(0, Math.min(n - 1, Math.round((pixels[4 * i + k] / 255) * (n - 1) + shift)));
    return (level(0, R) * G + level(1, G)) * B + level(2, B);
  });
}

function lzw(indices) {
  const CLEAR = 256, END = 257, out = new Bytes();
  let held = 0, bits = 0, width = 9, known = new Map(), next = 258, prefix = indices[0];
  const put = (code) => {
    held |= code << bits;
    for (bits += width; bits >= 8; bits -= 8) {
      out.push(held & 255);
      held >>>= 8;
    }
  };
  put(CLEAR);
  for (let i = 1; i < indices.length; i++) {
    const key = (prefix << 8) | indices[i], code = known.get(key);
    if (code !== undefined) {
      prefix = code;
      continue;
    }
    put(prefix);
    prefix = indices[i];
    if (next < 4096) {
      if (next === 1 << width) width++;
      known.set(key, next++);
    } else {
      put(CLEAR);
      [known, next, width] = [new Map(), 258, 9];
    }
  }
  put(prefix);
  if (next === 1 << width && width < 12) width++;
  put(END);
  if (bits) out.push(held & 255);
  return out.done();
}

class Bytes {
  #bytes = new Uint8Array(1024);
  #length = 0;

  push(...values) {
    if (this.#length + values.length > this.#bytes.length) {
      const more = new Uint8Array(2 * this.#bytes.length + values.length);
      more.set(this.#bytes);
      this.#bytes = more;
    }
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
    return this;
  }

  text(text) { return this.push(...new TextEncoder().encode(text)); }
  word(value) { return this.push(value & 255, value >> 8); }

  blocks(content) {
    for (let i = 0; i < content.length; i += 255) {
      const part = content.subarray(i, i + 255);
      this.push(part.length, ...part);
    }
    return this.push(0);
  }

  done() { return this.#bytes.slice(0, this.#length); }
}
