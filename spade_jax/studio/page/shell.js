// What surrounds the work: the status line, themes, the list of tools, files dropped.

export const get = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

export function say(words, isWrong = false) {
  const status = get("status");
  if (status.textContent !== words) status.textContent = words;
  status.classList.toggle("wrong", isWrong);
}

export function makeToolList(list, state, tools, choose) {
  for (const { name, title, key } of tools) {
    const label = document.createElement("label"), input = document.createElement("input");
    const svg = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
    Object.assign(label, { className: "tool", title: `${title} (${key})` });
    Object.assign(input, { type: "radio", name: "tool", value: name });
    input.setAttribute("aria-label", title);
    input.setAttribute("aria-keyshortcuts", key);
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    label.append(input, svg);
    input.addEventListener("change", () => choose(name));
    list.append(label);
  }
  state.watch(["tool"], () => {
    list.querySelector(`[value="${state.get("tool")}"]`).checked = true;
  });
}

// What buttons without words say to readers, they say to who points at them.
export function makeTitles() {
  for (const button of document.querySelectorAll("button[aria-label]")) {
    const keys = button.getAttribute("aria-keyshortcuts")?.replaceAll("Control", "Ctrl");
    button.title = button.getAttribute("aria-label") + (keys ? ` (${keys})` : "");
  }
}

// What a person chose, for the next time; where storage is forbidden, for this one.
const kept = {
  get(name) { try { return localStorage[name] ?? null; } catch { return null; } },
  set(name, value) { try { localStorage[name] = value; } catch { /* forbidden */ } },
};

// A box that is ticked until a person unticks it.
export function keepChoice(box, name) {
  box.checked = kept.get(name) !== "off";
  box.addEventListener("change", () => kept.set(name, box.checked ? "on" : "off"));
}

// As the system has it, until a person chooses.
export function makeTheme(button) {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = kept.get("theme");
  if (chosen) root.dataset.theme = chosen;
  button.addEventListener("click", () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    kept.set("theme", root.dataset.theme);
  });
}

// Buttons that open files, and files that are dropped: on the strip they are styles.
export function listenToFiles({ open, trace, style }) {
  for (const [button, act] of [["open", open], ["trace", trace], ["style-photo", style]]) {
    const input = get(`${button === "style-photo" ? "style" : button}-file`);
    get(button).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files[0]) act(input.files[0]);
      input.value = "";
    });
  }
  const dropping = (is) => document.body.classList.toggle("dropping", is);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    dropping(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || dropping(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(false);
    const [file] = event.dataTransfer.files;
    if (!file) return;
    if (style && event.target.closest("#styles")) style(file);
    else open(file);
  });
}
