// The editor: what happens to the ids, and what of it can be undone.
import { History } from "./history.js";

export class Editor {
  #state;
  #model;
  #history = new History();
  #at;

  // `at` has `show(ids, ...rows)`, `rested()` and `say(words)`.
  constructor(state, model, at) {
    this.#state = state;
    this.#model = model;
    this.#at = at;
  }

  get canUndo() { return this.#history.canUndo; }
  get canRedo() { return this.#history.canRedo; }

  // Within a stroke; `rows` are the first and the last that changed.
  changed(rows = []) {
    this.#at.show(this.#state.get("ids"), ...rows);
    this.#state.touch("ids");
  }

  // After a stroke: notes what it changed.
  done(before) {
    const { changed, forgot } = this.#history.note(before, this.#state.get("ids"), this.#model.width);
    if (forgot) this.#at.say("The oldest strokes can no longer be undone: their memory is full.");
    if (changed) this.#rested();
  }

  replace(ids) {
    const before = this.#state.get("ids").slice();
    this.#state.get("ids").set(ids);
    this.changed();
    this.done(before);
  }

  step(how) {
    if (!this.#history[how](this.#state.get("ids"), this.#model.width))
      return this.#at.say(`There is nothing to ${how}.`);
    this.changed();
    this.#rested();
  }

  forget() { this.#history.clear(); }

  // The layouts stroke by stroke, `most` of them.
  film(most) { return this.#history.layouts(this.#state.get("ids"), this.#model.width, most); }

  #rested() {
    this.#state.set({ strokes: this.#state.get("strokes") + 1 });
    this.#at.rested();
  }
}

// Sky above, ground below; of a model without such classes the first two.
export function horizon({ classes, width, height }) {
  const named = (start, other) => {
    const found = classes.findIndex((name) => name.startsWith(start));
    return found < 0 ? other : found;
  };
  const ids = new Uint16Array(width * height).fill(named("sky", 0));
  return ids.fill(named("grass", Math.min(1, classes.length - 1)), width * Math.round(0.6 * height));
}
