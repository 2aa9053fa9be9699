// The work in the browser's storage, so that it survives a reload; of several tabs the
// first one keeps it.

const NAME = "spade_jax studio", STORE = "works";
const NO_STORAGE = "The browser keeps nothing for this page: save the work before you leave it.";

export class Store {
  #key;
  #database = null;
  isOurs = false;

  constructor(key) { this.#key = key; }

  // Why this tab does not keep the work; nothing where it does.
  async open() {
    // Which a page of another machine has over https only.
    if (!navigator.locks || !globalThis.indexedDB) return NO_STORAGE;
    try {
      const isOurs = await this.#taken();
      const opening = indexedDB.open(NAME, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
      this.#database = await done(opening);
      this.isOurs = isOurs;
    } catch {
      return NO_STORAGE;
    }
    return this.isOurs ? "" : "Another tab keeps this work: what is painted here is not kept.";
  }

  #taken() {
    return new Promise((resolve, reject) => {
      navigator.locks.request(`${NAME} ${this.#key}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise(() => {}); // for as long as the tab is open
      }).catch(reject);
    });
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
