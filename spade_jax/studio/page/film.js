// The film of the strokes: layout and picture side by side, one frame a change.
import { encodeGif } from "./gif.js";

export const MOST_FRAMES = 150;
const SECOND = 12, LAST = 18; // frames; the last one stands longer
const TYPES = ["video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm;codecs=vp8"];

// Frames as canvases. `layouts` are ids; `synthesise(ids)` gives a bitmap; `progress` is
// told how many of how many are done, and says whether to go on.
export async function frames(layouts, { synthesise, paintIds, model, progress }) {
  const some = [...layouts], made = [];
  const scale = Math.max(1, Math.round(384 / model.width));
  const size = { width: 2 * model.width * scale, height: model.height * scale };
  for (const ids of some) {
    const canvas = new OffscreenCanvas(size.width, size.height), context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(paintIds(ids), 0, 0, size.width / 2, size.height);
    context.imageSmoothingEnabled = true;
    context.drawImage(await synthesise(ids), size.width / 2, 0, size.width / 2, size.height);
    made.push(canvas);
    if (!progress(made.length, some.length, canvas)) return [];
  }
  return made;
}

// Plays the frames on a canvas, and records it.
export async function record(frames, canvas) {
  const type = TYPES.find((t) => MediaRecorder.isTypeSupported(t));
  if (!type) throw new Error("This browser records no films. Save a GIF instead.");
  const stream = canvas.captureStream(0), [track] = stream.getVideoTracks();
  const recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 4e6 });
  const parts = [], context = canvas.getContext("2d");
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  for (const frame of [...frames, ...Array(LAST).fill(frames.at(-1))]) {
    context.drawImage(frame, 0, 0);
    track.requestFrame();
    await new Promise((next) => setTimeout(next, 1000 / SECOND));
  }
  recorder.stop();
  await stopped;
  const ending = type.startsWith("video/mp4") ? "mp4" : "webm";
  return [new Blob(parts, { type: type.split(";")[0] }), `film.${ending}`];
}

export function gif(frames) {
  const { width, height } = frames[0];
  const pixels = frames.map((frame) => frame.getContext("2d").getImageData(0, 0, width, height).data);
  const delays = frames.map((_, i) => (i === frames.length - 1 ? 150 : Math.round(100 / SECOND)));
  return [new Blob([encodeGif(pixels, { width, height, delays })], { type: "image/gif" }), "film.gif"];
}
