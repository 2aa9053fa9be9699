// A work: layout, style and model, as one JSON file that opens again.
import { decodeRuns, encodeRuns, fromBase64, toBase64 } from "./ids.js";

const FORM = "spade_jax studio 1";

// Names of what a work holds.
export const KEPT = ["ids", "style", "styleName", "seed", "classStyles", "classId"];

export function packWork({ ids, classStyles, classId, ...style }, model) {
  const { name, digest, classes, width, height } = model;
  return {
    form: FORM,
    model: { name, digest, classes },
    width,
    height,
    runs: toBase64(encodeRuns(ids)),
    ...packStyle(style),
    classStyles: [...classStyles].map(([id, own]) => ({ id, ...packStyle(own) })),
    classId,
  };
}

// {values, words}: what a work holds, and what there is to say of it. Throws where it
// cannot be used with this model.
export function unpackWork(work, model) {
  if (work?.form !== FORM) throw new Error("This file is no work of the studio.");
  const { width, height, classes } = model;
  if (work.width !== width || work.height !== height)
    throw new Error(`This work is of ${work.width}×${work.height} pixels; ${model.name} makes ${width}×${height}.`);
  const ids = decodeRuns(fromBase64(work.runs), width * height);
  const isOther = work.model.digest !== model.digest;
  const sameClasses = JSON.stringify(work.model.classes) === JSON.stringify(classes);
  if (ids.some((id) => id >= classes.length) || (isOther && !sameClasses))
    throw new Error(`This work was made with ${work.model.name}, which has other classes than ${model.name}.`);
  const values = { ids };
  if (Number.isInteger(work.classId) && classes[work.classId] !== undefined) values.classId = work.classId;
  if (isStyle(work, model)) Object.assign(values, unpackStyle(work));
  const own = model.class_styles && Array.isArray(work.classStyles) ? work.classStyles : [];
  const known = own.filter((one) => classes[one?.id] !== undefined && isStyle(one, model));
  values.classStyles = new Map(known.map((one) => [one.id, unpackStyle(one)]));
  const words = isOther ? `Made with another model (${work.model.name}): the picture differs.` : "";
  return { values, words };
}

function packStyle({ style, styleName, seed }) {
  return { style: Array.from(style), styleName, seed };
}

function isStyle({ style }, model) {
  return style?.length === model.style_size && style.every(Number.isFinite);
}

function unpackStyle({ style, styleName, seed }) {
  return {
    style: Float32Array.from(style),
    styleName: String(styleName ?? ""),
    seed: Number.isInteger(seed) ? seed : null,
  };
}
