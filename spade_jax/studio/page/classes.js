// The palette: classes with names and colours, those on the canvas first.
import { counts } from "./ids.js";

export class Classes {
  #state;
  #model;
  #list;
  #search;

  constructor(state, model, list, search) {
    Object.assign(this, { order: model.classes.map((_, id) => id) });
    this.#state = state;
    this.#model = model;
    this.#list = list;
    this.#search = search;
    search.addEventListener("input", () => this.show());
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") list.querySelector("input")?.click();
    });
    list.addEventListener("change", (event) => state.set({ classId: Number(event.target.value) }));
    state.watch(["classId"], () => this.#mark());
    state.watch(["classStyles"], () => this.show());
  }

  // Sorts, unless a person is moving through the list.
  show() {
    const { classes } = this.#model, ids = this.#state.get("ids");
    const shares = counts(ids, classes.length), words = this.#search.value.trim().toLowerCase();
    const hasFocus = this.#list.contains(document.activeElement);
    if (!hasFocus)
      this.order = classes.map((_, id) => id).sort((a, b) => shares[b] - shares[a] || a - b);
    const found = this.order.filter((id) => classes[id].toLowerCase().includes(words));
    const rows = found.map((id, i) => this.#row(id, shares[id] / ids.length, {
      isFirstAbsent: i > 0 && !shares[id] && shares[found[i - 1]] > 0,
    }));
    if (!rows.length) {
      const none = document.createElement("p");
      Object.assign(none, { className: "none", textContent: "No class of that name." });
      rows.push(none);
    }
    const focused = hasFocus ? document.activeElement.value : null;
    this.#list.replaceChildren(...rows);
    this.#mark();
    if (focused !== null) this.#list.querySelector(`input[value="${focused}"]`)?.focus();
  }

  #row(id, share, { isFirstAbsent }) {
    const row = document.createElement("label"), input = document.createElement("input");
    row.className = isFirstAbsent ? "class first-absent" : "class";
    Object.assign(input, { type: "radio", name: "class", value: String(id) });
    const swatch = document.createElement("i");
    swatch.style.background = colour(this.#model, id);
    swatch.setAttribute("aria-hidden", "true");
    const name = document.createElement("span"), small = document.createElement("small");
    name.textContent = this.#model.classes[id];
    const percent = share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
    const own = this.#state.get("classStyles").has(id) ? "own style" : "";
    small.textContent = [own, share ? percent : ""].filter(Boolean).join(" · ");
    row.append(input, swatch, name, small);
    return row;
  }

  #mark() {
    const input = this.#list.querySelector(`input[value="${this.#state.get("classId")}"]`);
    if (input) input.checked = true;
  }
}

export function colour(model, id) {
  return `rgb(${model.palette[id].join(" ")})`;
}
