// Sheets over the page: which reading of a picture is meant, and the film.
import { frames, gif, record } from "./film.js";
import { download } from "./files.js";
import { get } from "./shell.js";
import { draw } from "./styles.js";

// The reading that a person chooses of several; null for none of them.
export function chooseReading(readings, paintIds) {
  if (readings.length === 1) return Promise.resolve(readings[0]);
  const sheet = get("readings-sheet"), words = {
    palette: "The numbers of its palette", colours: "Its colours", ids: "Its greys",
  };
  return new Promise((resolve) => {
    get("readings").replaceChildren(...readings.map((reading) => {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      draw(canvas, paintIds(reading.ids));
      button.append(canvas, words[reading.how]);
      button.onclick = () => {
        resolve(reading);
        sheet.close();
      };
      return button;
    }));
    sheet.onclose = () => resolve(null);
    sheet.showModal();
  });
}

// Makes the film of some layouts, shows it as it comes, and offers it.
export async function showFilm(layouts, { synthesise, paintIds, model }) {
  const sheet = get("film-sheet"), canvas = get("film-canvas"), words = get("film-words");
  const bar = get("film-progress"), buttons = [get("film-save"), get("film-gif")];
  buttons.forEach((button) => { button.disabled = true; });
  words.textContent = "Each stroke is painted again…";
  bar.removeAttribute("value");
  sheet.showModal();
  const progress = (done, all, frame) => {
    Object.assign(bar, { max: all, value: done });
    draw(canvas, frame);
    return sheet.open;
  };
  const made = await frames(layouts, { synthesise, paintIds, model, progress });
  if (!made.length) return;
  words.textContent = made.length === 1
    ? "There is no stroke yet: paint, and the film is longer."
    : `${made.length} pictures.`;
  buttons.forEach((button) => { button.disabled = false; });
  const keep = (make) => async () => {
    words.textContent = "One moment…";
    try {
      const [blob, name] = await make();
      download(blob, name);
      words.textContent = `${name}, ${Math.ceil(blob.size / 1000)} kB`;
    } catch (error) {
      words.textContent = error.message;
    }
  };
  buttons[0].onclick = keep(() => record(made, canvas));
  buttons[1].onclick = keep(() => gif(made));
}
