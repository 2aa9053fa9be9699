// Live: the newest layout is sent when none is in flight, else when the answer comes; so
// at most one is, and the last is always answered. What can wait, waits for a rest.

const REST = 500; // milliseconds without a change
const SOON = 300; // milliseconds after which a picture is late

export class Live {
  #engine;
  #request;
  #shown;
  #dirty = false;
  #busy = false;
  #held = 0;
  #rest = null;
  #late = null;
  #later = null;

  // `request()` gives what `synthesise` takes; `shown` has `picture(answer)`,
  // `failed(error)` and `stale(is)`.
  constructor(engine, request, shown) {
    this.#engine = engine;
    this.#request = request;
    this.#shown = shown;
  }

  get isBusy() { return this.#busy || this.#dirty; }

  changed() {
    this.#dirty = true;
    this.#late ??= setTimeout(() => this.#shown.stale(true), SOON);
    this.#awaitRest();
    this.#run();
  }

  // What is computed while nothing else is: a generator of functions, each of which
  // gives a promise. The next one of these, or a change, ends it.
  whenIdle(jobs) {
    this.#later = jobs;
    this.#awaitRest();
  }

  // Computes for somebody else, who wants it now and one after another.
  async exclusively(work) {
    this.#held++;
    try {
      while (this.#busy) await new Promise((done) => setTimeout(done, 20));
      return await work();
    } finally {
      this.#held--;
      this.#run();
    }
  }

  #awaitRest() {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#rest = null;
      this.#run();
    }, REST);
  }

  async #run() {
    if (this.#busy || this.#held) return;
    this.#busy = true;
    while (this.#dirty && !this.#held) {
      this.#dirty = false;
      try {
        this.#shown.picture(await this.#engine.synthesise(...this.#request()));
      } catch (error) {
        this.#shown.failed(error);
      }
    }
    if (!this.#dirty) {
      clearTimeout(this.#late);
      this.#late = null;
      this.#shown.stale(false);
    }
    this.#busy = false;
    await this.#idle();
  }

  async #idle() {
    const jobs = this.#later;
    if (!jobs || this.#rest !== null || this.isBusy || this.#held) return;
    this.#busy = true;
    try {
      for (const job of jobs) {
        await job();
        if (this.#dirty || this.#held || jobs !== this.#later) break;
      }
      if (jobs === this.#later && !this.#dirty) this.#later = null;
    } catch (error) {
      this.#later = null;
      this.#shown.failed(error);
    } finally {
      this.#busy = false;
    }
    if (this.#dirty || this.#later) this.#run();
  }
}
