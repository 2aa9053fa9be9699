// A work: layout, style and model, as one JSON file that opens again.
import { decodeRuns, encodeRuns, fromBase64, toBase64 } from "./ids.js";

const FORM = "spade_jax studio 1";

export function packWork({ ids, style, styleName, seed, classId }, model) {
  const { name, digest, classes, width, height } = model;
  return {
    form: FORM,
    model: { name, digest, classes },
    width,
    height,
    runs: toBase64(encodeRuns(ids)),
    style: Array.from(style),
    styleName,
    seed,
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
  const isStyle = work.style?.length === model.style_size && work.style.every(Number.isFinite);
  if (isStyle) Object.assign(values, {
    style: Float32Array.from(work.style),
    styleName: String(work.styleName ?? ""),
    seed: Number.isInteger(work.seed) ? work.seed : null,
  });
  const words = isOther ? `Made with another model (${work.model.name}): the picture differs.` : "";
  return { values, words };
}
