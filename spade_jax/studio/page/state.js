// What the page knows, in one place; whoever shows some of it is told when it changes.

export class State {
  #values;
  #watchers = [];

  constructor(values) {
    this.#values = { ...values };
  }

  get(name) { return this.#values[name]; }

  only(names) { return Object.fromEntries(names.map((name) => [name, this.#values[name]])); }

  set(changes) {
    const names = Object.keys(changes).filter((name) => changes[name] !== this.#values[name]);
    Object.assign(this.#values, changes);
    this.#tell(names);
  }

  // Says that a value changed within, as an array does.
  touch(...names) { this.#tell(names); }

  // Calls now, and whenever one of the values changes.
  watch(names, show) {
    this.#watchers.push({ names, show });
    show();
  }

  #tell(changed) {
    for (const { names, show } of this.#watchers)
      if (names.some((name) => changed.includes(name))) show();
  }
}
