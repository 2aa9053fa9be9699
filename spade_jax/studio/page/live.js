// Live: the newest layout is sent when none is in flight, else when the answer comes; so
// at most one is, and the last is always answered. What can wait, waits for a rest.

const REST = 500; // milliseconds without a change
const SOON = 300; // milliseconds after which a picture is late

const soon = () => new Promise((done) => setTimeout(done, 20));

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

  // What is computed while nothing else is: functions, each of which gives a promise.
  // Other jobs take their place, and what interrupts them makes them begin anew.
  whenIdle(jobs) {
    this.#later = jobs;
    this.#awaitRest();
  }

  // Computes for somebody else, who wants it now: one after another, and nothing beside.
  async exclusively(work) {
    this.#held++;
    while (this.#busy) await soon();
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
      this.#held--;
      this.#run();
    }
  }

  // Until the picture is that of the last change.
  async settled() {
    while (this.isBusy) await soon();
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
      if (jobs === this.#later && !this.#dirty && !this.#held) this.#later = null;
    } catch (error) {
      this.#later = null;
      this.#shown.failed(error);
    } finally {
      this.#busy = false;
    }
    if (this.#dirty || this.#later) this.#run();
  }
}
