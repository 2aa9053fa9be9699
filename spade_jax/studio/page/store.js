// The work in the browser's storage, so that it survives a reload; of several tabs the
// first one keeps it.

const NAME = "spade_jax studio", STORE = "works";

export class Store {
  #key;
  #database = null;
  isOurs = false;

  constructor(key) { this.#key = key; }

  // Whether this tab keeps the work; another one may have it.
  async open() {
    if (!navigator.locks || !globalThis.indexedDB) return false;
    this.isOurs = await new Promise((resolve) => {
      navigator.locks.request(`${NAME} ${this.#key}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise(() => {}); // for as long as the tab is open
      });
    });
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    this.#database = await done(opening);
    return this.isOurs;
  }

  read() { return this.#ask("readonly", (store) => store.get(this.#key)); }

  async write(work) {
    if (this.isOurs) await this.#ask("readwrite", (store) => store.put(work, this.#key));
  }

  #ask(mode, request) {
    if (!this.#database) return null;
    return done(request(this.#database.transaction(STORE, mode).objectStore(STORE)));
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
