// Shapes as spans: yields [y, from, to) of the pixels whose centres lie in them. A hard
// edge: a pixel is in or out. Coordinates are in pixels; the centre of the first is
// (0.5, 0.5). What lies beyond the picture is cut off by `paint`.

// Where the middle of a brush may be, so that its marks have the same size everywhere.
export function snap(point, size) {
  const to = (x) => (size % 2 ? Math.floor(x) + 0.5 : Math.round(x));
  return { x: to(point.x), y: to(point.y) };
}

// A disc that is drawn along a line: the stroke of a round brush between two points.
export function* capsule(a, b, size) {
  const r = size / 2, dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
  const top = Math.floor(Math.min(a.y, b.y) - r), bottom = Math.ceil(Math.max(a.y, b.y) + r);
  const left = Math.floor(Math.min(a.x, b.x) - r), right = Math.ceil(Math.max(a.x, b.x) + r);
  const isIn = (x, y) => {
    const t = length2 ? Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / length2)) : 0;
    return (x - a.x - t * dx) ** 2 + (y - a.y - t * dy) ** 2 <= r * r + 1e-9;
  };
  // It is convex, so that a row of it is one span.
  for (let y = top; y < bottom; y++) {
    let from = left, to = right;
    while (from < to && !isIn(from + 0.5, y + 0.5)) from++;
    while (to > from && !isIn(to - 0.5, y + 0.5)) to--;
    if (from < to) yield [y, from, to];
  }
}

function box(a, b) {
  const floor = Math.floor;
  return {
    left: floor(Math.min(a.x, b.x)), right: floor(Math.max(a.x, b.x)) + 1,
    top: floor(Math.min(a.y, b.y)), bottom: floor(Math.max(a.y, b.y)) + 1,
  };
}

// Of the pixels that two corners lie in, and all between them.
export function* rectangle(a, b) {
  const { left, right, top, bottom } = box(a, b);
  for (let y = top; y < bottom; y++) yield [y, left, right];
}

// The ellipse in that rectangle.
export function* ellipse(a, b) {
  const { left, right, top, bottom } = box(a, b);
  const cx = (left + right) / 2, cy = (top + bottom) / 2;
  const rx = (right - left) / 2, ry = (bottom - top) / 2;
  for (let y = top; y < bottom; y++) {
    const half = rx * Math.sqrt(Math.max(0, 1 - ((y + 0.5 - cy) / ry) ** 2));
    const from = Math.ceil(cx - half - 0.5), to = Math.floor(cx + half - 0.5) + 1;
    if (from < to) yield [y, from, to];
  }
}

// Inside is where a ray crosses the outline an odd number of times.
export function* polygon(points) {
  const ys = points.map((p) => p.y);
  for (let y = Math.floor(Math.min(...ys)); y < Math.max(...ys); y++) {
    const crossings = [], middle = y + 0.5;
    points.forEach((p, i) => {
      const q = points[(i + 1) % points.length];
      if (p.y <= middle !== q.y <= middle)
        crossings.push(p.x + ((middle - p.y) * (q.x - p.x)) / (q.y - p.y));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.ceil(crossings[i] - 0.5), to = Math.ceil(crossings[i + 1] - 0.5);
      if (from < to) yield [y, from, to];
    }
  }
}

export function paint(ids, { width, height }, spans, id) {
  for (const [y, from, to] of spans) {
    const left = Math.max(0, from), right = Math.min(width, to);
    if (y >= 0 && y < height && left < right) ids.fill(id, y * width + left, y * width + right);
  }
}
