// A PNG read as a layout: its numbers are ids, or its colours are the classes'.
import { fromStored, resize } from "./ids.js";

// [{how, ids}] of the model's size; two where a palette allows both. Throws where there
// is none.
export function readings({ width, height, channels, depth, values, palette }, model) {
  const found = [];
  const add = (how, ids) => found.push({ how, ids: resize(ids, { width, height }, model) });
  const ids = channels === 1 || palette ? fromStored(values, model) : null;
  if (channels === 1 && !palette) {
    if (ids) add("ids", ids);
  } else if (palette) {
    const colours = byColour(values.length, (i, k) => palette[3 * values[i] + k], model);
    if (ids) add("palette", ids);
    if (colours) add("colours", colours);
    if (found.length === 2 && found[0].ids.every((id, i) => id === found[1].ids[i])) found.pop();
  } else if (channels >= 3 && depth === 8) {
    const colours = byColour(width * height, (i, k) => values[channels * i + k], model);
    if (colours) add("colours", colours);
  }
  if (!found.length)
    throw new Error(`This picture is no layout of ${model.name}: it holds neither the ids of its classes nor their colours.`);
  return found;
}

function byColour(length, colour, model) {
  const code = (r, g, b) => (r << 16) | (g << 8) | b;
  const known = new Map(model.palette.map((c, id) => [code(...c), id]).reverse());
  const ids = new Uint16Array(length);
  for (let i = 0; i < length; i++) {
    const id = known.get(code(colour(i, 0), colour(i, 1), colour(i, 2)));
    if (id === undefined) return null;
    ids[i] = id;
  }
  return ids;
}
