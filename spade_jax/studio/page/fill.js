// Fills: a region of one class, or all of a class.

// From a pixel over all of its class that touch with their sides; changes `ids`.
export function flood(ids, { width, height }, x, y, id) {
  const old = ids[y * width + x];
  if (old === id) return;
  const waiting = [[x, y]];
  while (waiting.length) {
    const [x, y] = waiting.pop(), row = y * width;
    if (ids[row + x] !== old) continue;
    let from = x, to = x + 1;
    while (from > 0 && ids[row + from - 1] === old) from--;
    while (to < width && ids[row + to] === old) to++;
    ids.fill(id, row + from, row + to);
    for (const next of [y - 1, y + 1]) {
      if (next < 0 || next >= height) continue;
      // One pixel of each run beside this one.
      for (let i = from; i < to; i++)
        if (ids[next * width + i] === old && (i === from || ids[next * width + i - 1] !== old))
          waiting.push([i, next]);
    }
  }
}

// One class for another, everywhere, and the other way round.
export function swap(ids, a, b) {
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === a) ids[i] = b;
    else if (ids[i] === b) ids[i] = a;
  }
}
