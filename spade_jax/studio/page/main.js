// The page: makes its parts and ties them together.
import { bind } from "./actions.js";
import { Classes } from "./classes.js";
import { listenToArrows } from "./crosshair.js";
import { Editor } from "./editor.js";
import { openEngine } from "./engine.js";
import { Live } from "./live.js";
import { listen } from "./pointer.js";
import { get, say } from "./shell.js";
import { State } from "./state.js";
import { Store } from "./store.js";
import { draw, Styles } from "./styles.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";
import { KEPT, packWork, unpackWork } from "./work.js";

const engine = await openEngine().catch((error) => {
  say(error.message, true);
  throw error;
});
const { model } = engine;
const { width, height } = model;
const store = new Store(model.digest);
export const state = new State({
  ids: await engine.landscape(model.first_landscape), tool: "brush",
  brush: Math.max(1, Math.round(width / 16)), classId: Math.max(0, model.classes.indexOf("water")),
  style: new Float32Array(model.style_size), styleName: "seed 0", seed: 0,
  classStyles: new Map(),
  bitmap: null, png: null, milliseconds: 0, shown: 0, strokes: 0, unsaved: 0, compare: false,
});
document.documentElement.style.setProperty("--ratio", width / height);
document.title = `${model.name}: spade_jax studio`;
get("model-name").textContent = `${model.name}, ${width}×${height}, ${model.classes.length} classes`;
get("styles").hidden = !model.style_size;
get("only-row").hidden = !model.class_styles;
get("style-photo").hidden = !model.encoder;
get("landscape").hidden = !model.landscapes;
get("size").max = Math.max(16, Math.round(Math.max(width, height) / 2));

const view = new View(get("layout"), get("overlay"), model);
export const live = new Live(engine, () => ["ids", "style", "classStyles"].map((name) => state.get(name)), {
  picture({ bitmap, png, milliseconds }) {
    for (const id of ["picture", "mini"]) draw(get(id), bitmap);
    state.set({ bitmap, png, milliseconds, shown: state.get("shown") + 1 });
  },
  failed(error) { say(error.message, true); },
  stale(is) {
    get("stale").hidden = !is;
    const seconds = state.get("milliseconds") / 1000;
    if (is && seconds > 10) say(`The model is large: ${Math.round(seconds)} s a picture on ${model.device}.`);
  },
});
engine.onchange = say;
const styles = new Styles(state, live, engine, {
  strip: get("strip"), seed: get("seed"), between: get("between"),
  ends: { a: get("end-a"), b: get("end-b") },
  only: get("only"), onlyClass: get("only-class"), asRest: get("as-rest"),
});
const classes = new Classes(state, model, get("class-list"), get("search"));

const editor = new Editor(state, model, {
  show: (...given) => view.showIds(...given),
  rested() {
    get("hint").hidden = true;
    showSteps();
    styles.refresh();
    keep();
  },
  say,
});
function showSteps() {
  classes.show();
  get("undo").disabled = !editor.canUndo;
  get("redo").disabled = !editor.canRedo;
}
function keep() {
  const work = packWork(state.only(KEPT), model);
  state.set({ unsaved: state.get("unsaved") + 1 });
  store.write(work)
    .catch((error) => say(error.message, true))
    .finally(() => state.set({ unsaved: state.get("unsaved") - 1 }));
}
function takeWork({ values: { ids, ...others }, words }) {
  tools.cancel();
  state.set(others);
  editor.replace(ids);
  if (words) say(words);
}

const tools = new Tools({
  get ids() { return state.get("ids"); },
  get tool() { return state.get("tool"); },
  get brush() { return state.get("brush"); },
  get classId() { return state.get("classId"); },
  size: { width, height },
  changed: (rows) => editor.changed(rows),
  done: (before) => editor.done(before),
  picked: (id) => state.set({ classId: id, tool: "brush" }),
  say,
});
let hovered = null;
function hover(place) {
  hovered = place;
  view.draw();
  if (!place) return;
  const [x, y] = [Math.floor(place.x), Math.floor(place.y)];
  if (x >= 0 && y >= 0 && x < width && y < height)
    say(`${model.classes[state.get("ids")[y * width + x]]} at ${x}, ${y}`);
}
view.drawOver((context, scale) => tools.preview(context, scale, hovered));
listen(get("overlay"), view, tools, { onhover: hover });
listenToArrows(get("overlay"), tools, {
  size: model,
  isShape: () => ["line", "rect", "ellipse"].includes(state.get("tool")),
  onmove: hover,
});
bind({ state, model, engine, live, view, editor, tools, styles, classes, takeWork });
state.watch(["ids", "style", "classStyles"], () => live.changed());
let isOpen = false; // what was there before is on the page
state.watch(["style", "classStyles"], () => isOpen && keep());

// Begin, with what was there before.
styles.takeSeed(0);
editor.changed();
const hindrance = await store.open();
if (hindrance) say(hindrance);
else {
  try {
    const kept = await store.read();
    if (kept) takeWork(unpackWork(kept, model));
  } catch (error) {
    say(error.message, true);
  }
  editor.forget();
}
isOpen = true;
showSteps();
styles.refresh();
document.body.dataset.ready = "true";
