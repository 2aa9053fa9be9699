// Styles as numbers: drawn of a seed as the predictor's `prior` draws them, so that a seed
// is the same style with the server, without it and in Python, and on the way between two
// others as `spade_jax.models.styles.along_arc` goes.

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];

// Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011).
function threefry([k0, k1], [c0, c1]) {
  const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda];
  let a = (c0 + k0) >>> 0, b = (c1 + k1) >>> 0;
  for (let i = 0; i < 5; i++) {
    for (const r of ROTATIONS[i % 2]) {
      a = (a + b) >>> 0;
      b = ((b << r) | (b >>> (32 - r))) ^ a;
    }
    a = (a + keys[(i + 1) % 3]) >>> 0;
    b = (b + keys[(i + 2) % 3] + i + 1) >>> 0;
  }
  return [a >>> 0, b >>> 0];
}

// The inverse error function (Giles, "Approximating the erfinv function", 2010).
function erfinv(x) {
  let w = -Math.log1p(-x * x), p;
  const horner = (numbers, w) => numbers.reduce((sum, c) => c + sum * w, 0);
  if (w < 5)
    p = horner([2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 0.00021858087,
      -0.00125372503, -0.00417768164, 0.246640727, 1.50140941], w - 2.5);
  else
    p = horner([-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
      -0.0076224613, 0.00943887047, 1.00167406, 2.83297682], Math.sqrt(w) - 3);
  return p * x;
}

const bits = new DataView(new ArrayBuffer(4));
function uniform(word) { // in [-1, 1), of the upper 23 bits
  bits.setUint32(0, (word >>> 9) | 0x3f800000);
  const lowest = -0.99999994; // the float32 after -1
  return Math.max(lowest, Math.fround((bits.getFloat32(0) - 1) * 2 + lowest));
}

// Of a whole number below 2 ** 32, and of what is told of the model.
export function drawStyle(seed, { style_size: length, random_styles: placing }) {
  const key = threefry(threefry([0, seed >>> 0], [0, 0]), [0, 0]);
  const noise = Float32Array.from({ length }, (_, i) => {
    const [a, b] = threefry(key, [0, i]);
    return Math.SQRT2 * erfinv(uniform((a ^ b) >>> 0));
  });
  if (!placing) return noise;
  // Such as the training pictures have.
  const { mean, factor } = placing;
  return noise.map((_, i) => factor[i].reduce((sum, x, k) => sum + x * noise[k], mean[i]));
}

// The style at a share of the way from a to b.
export function between(a, b, share) {
  const length = (v) => Math.hypot(...v);
  const [na, nb] = [length(a), length(b)];
  const straight = a.map((x, i) => (1 - share) * x + share * b[i]);
  if (Math.min(na, nb) === 0) return straight;
  const cosine = a.reduce((sum, x, i) => sum + (x / na) * (b[i] / nb), 0);
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  if (Math.sin(angle) < 1e-3) return straight;
  const n = ((1 - share) * na + share * nb) / Math.sin(angle);
  const [s, t] = [Math.sin((1 - share) * angle), Math.sin(share * angle)];
  return a.map((x, i) => n * (s * (x / na) + t * (b[i] / nb)));
}
