// Bicubic resizing as Pillow does it, so that a photograph has the same style here as in
// Python: separable, a = -0.5, wider where it shrinks, rounded between the directions.

function weights(from, to) {
  const scale = from / to, stretch = Math.max(scale, 1), reach = 2 * stretch;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const some = Array.from({ length: last - first }, (_, k) => cubic((k + first - centre + 0.5) / stretch));
    const sum = some.reduce((a, b) => a + b, 0);
    return { first, some: some.map((w) => w / sum) };
  });
}

function cubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Along rows of `length` pixels that lie `step` apart; `lines` of them, `stride` apart.
function along(values, { to, of, channels }) {
  const { lines, step, stride, outStep, outStride, size } = to;
  const out = new Uint8ClampedArray(size);
  for (let line = 0; line < lines; line++)
    of.forEach(({ first, some }, i) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        some.forEach((w, k) => { sum += w * values[line * stride + (first + k) * step + c]; });
        out[line * outStride + i * outStep + c] = Math.floor(sum + 0.5);
      }
    });
  return out;
}

// `values` are 0 to 255, `channels` of each pixel, row by row.
export function bicubic(values, { width, height }, to, channels) {
  const row = width * channels, outRow = to.width * channels;
  const narrow = along(values, {
    of: weights(width, to.width), channels,
    to: { lines: height, step: channels, stride: row, outStep: channels, outStride: outRow, size: height * outRow },
  });
  return along(narrow, {
    of: weights(height, to.height), channels: outRow,
    to: { lines: 1, step: outRow, stride: 0, outStep: outRow, outStride: 0, size: to.height * outRow },
  });
}
