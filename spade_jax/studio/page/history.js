// Undo: the rectangles that changed, with their ids before and after, as runs.
import { decodeRuns, encodeRuns } from "./ids.js";

export class History {
  #done = [];
  #undone = [];
  #bytes = 0;
  #most;

  // Of so many bytes at most, beyond which the oldest changes are forgotten.
  constructor(most = 64 * 2 ** 20) {
    this.#most = most;
  }

  get canUndo() { return this.#done.length > 0; }
  get canRedo() { return this.#undone.length > 0; }

  // Notes what changed; returns whether anything did, and whether something old was
  // forgotten for it.
  note(before, after, width) {
    const box = changed(before, after, width);
    if (!box) return { changed: false, forgot: false };
    const entry = { ...box, before: cut(before, width, box), after: cut(after, width, box) };
    this.#undone.forEach((e) => { this.#bytes -= size(e); });
    this.#undone = [];
    this.#done.push(entry);
    this.#bytes += size(entry);
    let forgot = false;
    while (this.#bytes > this.#most && this.#done.length > 1) {
      this.#bytes -= size(this.#done.shift());
      forgot = true;
    }
    return { changed: true, forgot };
  }

  undo(ids, width) { return move(this.#done, this.#undone, ids, width, "before"); }
  redo(ids, width) { return move(this.#undone, this.#done, ids, width, "after"); }

  clear() {
    this.#done = [];
    this.#undone = [];
    this.#bytes = 0;
  }

  // The layouts from the oldest that is known to the present one; of more than `most`
  // so many, evenly spaced, these two among them.
  *layouts(present, width, most = Infinity) {
    const ids = present.slice(), changes = this.#done.length;
    const step = Math.max(1, changes / (most - 1));
    for (const entry of this.#done.toReversed()) put(ids, width, entry, entry.before);
    yield ids.slice();
    let shown = 1;
    for (const [i, entry] of this.#done.entries()) {
      put(ids, width, entry, entry.after);
      if (i + 1 < Math.round(shown * step)) continue;
      yield ids.slice();
      shown++;
    }
  }
}

function move(from, to, ids, width, side) {
  const entry = from.pop();
  if (!entry) return false;
  put(ids, width, entry, entry[side]);
  to.push(entry);
  return true;
}

const size = (entry) => entry.before.length + entry.after.length + 64;

function changed(before, after, width) {
  let left = width, right = 0, top = -1, bottom = 0;
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    const x = i % width, y = (i - x) / width;
    if (top < 0) top = y;
    bottom = y + 1;
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
  }
  return top < 0 ? null : { x: left, y: top, width: right - left, height: bottom - top };
}

function cut(ids, width, box) {
  const part = new Uint16Array(box.width * box.height);
  for (let y = 0; y < box.height; y++) {
    const start = (box.y + y) * width + box.x;
    part.set(ids.subarray(start, start + box.width), y * box.width);
  }
  return encodeRuns(part);
}

function put(ids, width, box, runs) {
  const part = decodeRuns(runs, box.width * box.height);
  for (let y = 0; y < box.height; y++)
    ids.set(part.subarray(y * box.width, (y + 1) * box.width), (box.y + y) * width + box.x);
}
