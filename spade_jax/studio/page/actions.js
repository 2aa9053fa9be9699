// What buttons, keys and files do, and what is shown of the state.
import { colour } from "./classes.js";
import { chooseReading, showFilm } from "./dialogs.js";
import { horizon } from "./editor.js";
import { download, made, opened, photograph } from "./files.js";
import { MOST_FRAMES } from "./film.js";
import { keySheet, keyTable, listenToKeys } from "./keys.js";
import { get, keepChoice, listenToFiles, makeTheme, makeTitles, makeToolList, say } from "./shell.js";
import { TOOLS } from "./tools.js";
import { outlines } from "./view.js";

export function bind({ state, model, engine, live, view, editor, tools, styles, classes, takeWork }) {
  async function guarded(work) {
    try {
      await work();
    } catch (error) {
      say(error.message, true);
    }
  }

  function traced(photo, words = "") {
    view.photo = photo;
    get("trace-row").hidden = photo === null;
    get("hint").hidden = true;
    if (words) say(`${words} It lies over the layout, to be traced.`, true);
    view.draw();
  }

  const openFile = (file) => guarded(async () => {
    const found = await opened(file, engine);
    if (found.work) return takeWork(found.work);
    if (found.photo) return traced(found.photo, found.words);
    const reading = await chooseReading(found.readings, view.paintIds);
    if (reading) replace(reading.ids);
  });
  // What is not finished was of another layout.
  function replace(ids) {
    tools.cancel();
    editor.replace(ids);
  }
  const save = (kind) => guarded(async () => {
    if (kind === "picture" && live.isBusy) {
      say("It is saved when it is there.");
      await live.settled();
    }
    download(...await made(kind, state, model));
  });
  const film = () => guarded(() => live.exclusively(() => showFilm(editor.film(MOST_FRAMES), {
    synthesise: async (ids) =>
      (await engine.synthesise(ids, state.get("style"), state.get("classStyles"))).bitmap,
    paintIds: view.paintIds,
    model,
  })));
  const openClasses = (open) => document.body.classList.toggle("classes-open", open);
  const random = () => Math.floor(Math.random() * 1e6);

  const actions = {
    tool(name) {
      tools.cancel();
      state.set({ tool: name });
    },
    brush(by) {
      const brush = state.get("brush"), far = brush < 8 ? 1 : Math.round(brush / 6);
      state.set({ brush: Math.min(Number(get("size").max), Math.max(1, brush + by * far)) });
    },
    nthClass(n) { if (n <= classes.order.length) state.set({ classId: classes.order[n - 1] }); },
    search() {
      openClasses(true);
      get("search").focus();
      get("search").select();
    },
    undo() { actions.cancel(); editor.step("undo"); },
    redo() { actions.cancel(); editor.step("redo"); },
    roll: () => styles.roll(),
    compare: () => state.set({ compare: !state.get("compare") }),
    places: () => document.body.classList.toggle("swapped"),
    horizon: () => replace(horizon(model)),
    landscape: () => guarded(async () => replace(await engine.landscape(random()))),
    savePicture: () => save("picture"),
    zoom: (factor) => view.zoomBy(factor),
    fit: () => view.fit(),
    cancel() {
      openClasses(false);
      tools.cancel();
      view.draw();
    },
    help: () => get("keys-sheet").showModal(),
  };

  const table = keyTable(actions, TOOLS);
  listenToKeys(table, { takesSingle: () => get("single-keys").checked });
  keepChoice(get("single-keys"), "singleKeys");
  get("keys-list").append(...keySheet(table));
  makeToolList(get("tool-list"), state, TOOLS, actions.tool);
  makeTheme(get("theme"));
  makeTitles();
  listenToFiles({
    open: openFile,
    trace: (file) => guarded(async () => traced(await photograph(file))),
    style: model.encoder ? (file) => guarded(() => styles.addPhoto(file)) : null,
  });

  const clicks = {
    horizon: actions.horizon, landscape: actions.landscape, film, undo: actions.undo,
    redo: actions.redo, compare: actions.compare, keys: actions.help, roll: actions.roll,
    "zoom-in": () => actions.zoom(1.25), "zoom-out": () => actions.zoom(0.8), "zoom-fit": actions.fit,
    "open-classes": () => openClasses(true), "close-classes": () => openClasses(false),
    "trace-off": () => traced(null),
  };
  for (const [id, act] of Object.entries(clicks)) get(id).addEventListener("click", act);
  get("size").addEventListener("input", ({ target }) => state.set({ brush: Number(target.value) }));
  get("trace-opacity").addEventListener("input", ({ target }) => {
    view.opacity = target.value / 100;
    view.draw();
  });
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => {
      get("save-menu").hidePopover();
      save(button.dataset.save);
    });
  for (const input of document.querySelectorAll("[name=shown]"))
    input.addEventListener("change", () => { document.body.dataset.shown = input.value; });
  document.body.dataset.shown = "layout";
  view.onzoom = (zoom) => { get("zoom-shown").value = `${Math.round(100 * zoom)}%`; };

  state.watch(["brush"], () => {
    get("size").value = state.get("brush");
    get("size-shown").value = state.get("brush");
    view.draw();
  });
  state.watch(["classId"], () => {
    const chip = get("open-classes"), id = state.get("classId");
    chip.querySelector("i").style.background = colour(model, id);
    chip.querySelector("span").textContent = model.classes[id];
    openClasses(false);
  });
  state.watch(["milliseconds", "shown"], () => {
    const ms = state.get("milliseconds");
    const time = ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
    get("timing").textContent = state.get("shown")
      ? `${time} on ${model.device}` : "The first one takes a little longer…";
  });
  state.watch(["compare", "bitmap", "ids"], () => {
    const isOn = state.get("compare");
    get("compare").setAttribute("aria-pressed", String(isOn));
    view.picture = isOn ? state.get("bitmap") : null;
    view.outlines = isOn ? outlines(state.get("ids"), model) : null;
    view.draw();
  });
}
