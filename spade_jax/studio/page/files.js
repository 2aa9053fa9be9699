// Files out and in: what is saved, and what a file that was opened or dropped may be.
import { toStored } from "./ids.js";
import { encodePng, isPng } from "./png.js";
import { KEPT, packWork, unpackWork } from "./work.js";

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// The file of each kind: [blob, name].
export async function made(kind, state, model) {
  const { width, height, classes, palette } = model, ids = state.get("ids");
  if (kind === "picture") {
    if (!state.get("png")) throw new Error("There is no picture yet: wait for the first one.");
    return [state.get("png"), "picture.png"];
  }
  if (kind === "ids") {
    const numbers = toStored(classes.keys(), model), values = toStored(ids, model);
    const depth = Math.max(...numbers) > 255 ? 16 : 8;
    const texts = { classes: classes.map((name, id) => `${numbers[id]} ${name}`).join("\n") };
    return [await encodePng({ width, height, values, depth, texts }), "layout.png"];
  }
  if (kind === "colours") {
    const values = Array.from(ids).flatMap((id) => palette[id]);
    return [await encodePng({ width, height, values, channels: 3 }), "layout-colours.png"];
  }
  const work = JSON.stringify(packWork(state.only(KEPT), model));
  return [new Blob([work], { type: "application/json" }), "work.spade.json"];
}

// {work}, {readings} or {photo}: what a file is.
export async function opened(file, engine) {
  if (file.name.endsWith(".json") || file.type === "application/json")
    return { work: unpackWork(parsed(await file.text()), engine.model) };
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  if (!isPng(head)) return { photo: await photograph(file) };
  try {
    return { readings: await engine.readLayout(file) };
  } catch (error) {
    // A photograph may be a PNG, too; what is neither is told as the layout it is not.
    return { photo: await photograph(file), words: error.message };
  }
}

export async function photograph(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser opens.`);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This file is no work of the studio.");
  }
}
