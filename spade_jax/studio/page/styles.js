// The strip of styles: the present layout in several, each a button.
import { between, drawStyle } from "./latents.js";

const CARDS = 6, MOST_PHOTOS = 4, SLOW = 1500;
const rollSeed = () => Math.floor(Math.random() * 10000);

export class Styles {
  #state;
  #live;
  #engine;
  #at;
  #cards = [];
  #ends = { a: null, b: null };

  // `at` has the elements: strip, seed, between, ends {a, b}, and of the style of one
  // class only, asRest, onlyClass.
  constructor(state, live, engine, at) {
    this.#state = state;
    this.#live = live;
    this.#engine = engine;
    this.#at = at;
    at.seed.addEventListener("change", () => this.#typed());
    at.between.addEventListener("input", () => this.#blend());
    for (const end of ["a", "b"]) at.ends[end].addEventListener("click", () => this.#setEnd(end));
    at.only.addEventListener("click", () => {
      at.only.setAttribute("aria-pressed", String(!this.#isOnly));
      this.#aim();
      this.refresh();
    });
    at.asRest.addEventListener("click", () => this.#leave());
    this.#deal([...Array(CARDS).keys()]);
    state.watch(["classId"], () => {
      this.#aim();
      if (this.#isOnly) this.refresh();
    });
    state.watch(["style", "classStyles"], () => this.#mark());
  }

  roll() {
    this.#deal(Array.from({ length: CARDS }, rollSeed));
    this.refresh();
  }

  // For the class that is painted with, or for all that have none of their own.
  take(style, name, seed = null) {
    const taken = { style, styleName: name, seed };
    this.#state.set(this.#isOnly ? { classStyles: this.#with(taken) } : taken);
  }

  takeSeed(seed) {
    this.take(drawStyle(seed, this.#engine.model), `seed ${seed}`, seed);
  }

  async addPhoto(file) {
    const style = await this.#live.exclusively(() => this.#engine.encode(file));
    const photos = this.#cards.filter((card) => card.photo);
    if (photos.length >= MOST_PHOTOS) this.#cards.splice(this.#cards.indexOf(photos[0]), 1);
    this.#cards.unshift(card(style, file.name, { photo: true }));
    this.#show();
    this.take(style, file.name);
    this.refresh();
  }

  // Computes the thumbnails when the hand rests; each is the picture itself, smaller.
  refresh() {
    // Of a slow model only those that are asked for.
    if (this.#state.get("milliseconds") > SLOW) return;
    const jobs = this.#cards.map((card) => async () => {
      const given = this.#isOnly
        ? [this.#state.get("style"), this.#with(card)] : [card.style, this.#state.get("classStyles")];
      const { bitmap } = await this.#engine.synthesise(this.#state.get("ids"), ...given);
      draw(card.canvas, bitmap);
      card.canvas.dataset.drawn = true;
    });
    this.#live.whenIdle(jobs);
  }

  #deal(seeds) {
    const model = this.#engine.model;
    const photos = this.#cards.filter((card) => card.photo);
    const dealt = seeds.map((seed) => card(drawStyle(seed, model), String(seed), { seed }));
    this.#cards = [...photos, ...dealt];
    this.#show();
  }

  #show() {
    for (const { button, style, name, seed } of this.#cards)
      button.onclick = () => this.take(style, seed === null ? name : `seed ${seed}`, seed);
    this.#at.strip.replaceChildren(...this.#cards.map((card) => card.button));
    this.#mark();
  }

  // What the styles of the strip, the seed and the slider are of.
  #aim() {
    this.#at.onlyClass.textContent = this.#engine.model.classes[this.#state.get("classId")];
    this.#mark();
  }

  #with(taken) {
    return new Map(this.#state.get("classStyles")).set(this.#state.get("classId"), taken);
  }

  #leave() {
    const classStyles = new Map(this.#state.get("classStyles"));
    classStyles.delete(this.#state.get("classId"));
    this.#at.only.focus();
    this.#state.set({ classStyles });
  }

  // {style, styleName, seed} of what they are of.
  #present() {
    const [style, styleName, seed] = ["style", "styleName", "seed"].map((n) => this.#state.get(n));
    const own = this.#isOnly && this.#own();
    return own || { style, styleName, seed };
  }

  get #isOnly() { return this.#at.only.getAttribute("aria-pressed") === "true"; }

  #own() { return this.#state.get("classStyles").get(this.#state.get("classId")); }

  #mark() {
    const { style: taken, seed } = this.#present();
    this.#at.seed.value = seed ?? "";
    this.#at.asRest.hidden = !(this.#isOnly && this.#own());
    for (const { button, style } of this.#cards) {
      const isTaken = style.length === taken?.length && style.every((x, i) => x === taken[i]);
      button.setAttribute("aria-pressed", String(isTaken));
    }
  }

  #typed() {
    const text = this.#at.seed.value.trim(), seed = Number(text);
    if (/^\d+$/.test(text) && seed < 2 ** 32) this.takeSeed(seed);
    else this.#at.seed.value = this.#present().seed ?? "";
  }

  #setEnd(end) {
    const { style, styleName: name } = this.#present();
    this.#ends[end] = { style, name };
    const picture = this.#state.get("bitmap");
    if (picture) draw(this.#at.ends[end].querySelector("canvas"), picture);
    this.#at.ends[end].setAttribute("aria-label", `Style ${end}: ${this.#ends[end].name}. Take the present style instead`);
    this.#at.between.disabled = !(this.#ends.a && this.#ends.b);
    this.#at.between.value = end === "a" ? 0 : 100;
  }

  #blend() {
    const share = this.#at.between.value / 100, { a, b } = this.#ends;
    this.take(between(a.style, b.style, share), `${Math.round(100 * share)}% from ${a.name} to ${b.name}`);
  }
}

function card(style, name, { seed = null, photo = false }) {
  const button = document.createElement("button"), words = document.createElement("span");
  const canvas = document.createElement("canvas");
  button.className = "style";
  words.textContent = name;
  button.setAttribute("aria-label", photo ? `Style of ${name}` : `Style of seed ${name}`);
  button.append(canvas, words);
  return { style, name, seed, photo, button, canvas };
}

export function draw(canvas, bitmap) {
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}
