// The keys, in one table, of which the sheet is made, too.

// [keys, what they do, action]; an action is called with the event.
export function keyTable(actions, tools) {
  return [
    ...tools.map((tool) => [[tool.key], tool.title, () => actions.tool(tool.name)]),
    [["["], "Smaller brush", () => actions.brush(-1)],
    [["]"], "Larger brush", () => actions.brush(1)],
    [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "Classes on the canvas", (e) => actions.nthClass(Number(e.key))],
    [["/"], "Search classes", actions.search],
    [["Ctrl+Z"], "Undo", actions.undo],
    [["Ctrl+Shift+Z", "Ctrl+Y"], "Redo", actions.redo],
    [["R"], "Roll other styles", actions.roll],
    [["C"], "Picture under the layout's outlines", actions.compare],
    [["W"], "Layout and picture change places", actions.places],
    [["N"], "Empty horizon", actions.horizon],
    [["M"], "Random landscape", actions.landscape],
    [["S"], "Save the picture", actions.savePicture],
    [["+", "="], "Larger", () => actions.zoom(1.25)],
    [["-"], "Smaller", () => actions.zoom(0.8)],
    [["0"], "Show all", actions.fit],
    [["Escape"], "Leave what is not finished", actions.cancel],
    [["?"], "This list", actions.help],
  ];
}

// What the layout takes while it has the focus.
export const CANVAS_KEYS = [
  [["Arrows"], "Move the crosshair; with Shift by ten"],
  [["Space"], "Paint; a shape's first and second corner"],
  [["Enter"], "End a polygon"],
];

// Of one character are those that a dictated word or a stray touch may press: a person
// can switch them off, as WCAG 2.1.4 has it.
export function listenToKeys(table, { takesSingle }) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    // Who writes a text has the keys for it.
    const writes = event.target.matches?.("input[type=text], input[type=search]");
    if (writes && name !== "Escape") return;
    if (name.length === 1 && !takesSingle()) return;
    const found = table.find(([keys]) => keys.includes(name));
    if (!found) return;
    event.preventDefault();
    found[2](event);
  });
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  if (!event.ctrlKey && !event.metaKey) return key;
  return `Ctrl+${event.shiftKey ? "Shift+" : ""}${key}`;
}

export function keySheet(table) {
  return [...CANVAS_KEYS, ...table].map(([keys, words]) => {
    const row = document.createElement("div"), name = document.createElement("span"), shown = document.createElement("span");
    name.textContent = words;
    const some = keys.length > 3 ? [`${keys[0]} … ${keys.at(-1)}`] : keys;
    for (const key of some) {
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      shown.append(kbd, " ");
    }
    row.append(name, shown);
    return row;
  });
}
