// Mouse, touch and pen on the layout. One finger paints, two move and enlarge; a palm
// does nothing while a pen is down.

export function listen(canvas, view, tools, { onhover }) {
  const fingers = new Map();
  let painting = null, panning = false, pen = null;

  const pressure = (event) => (event.pointerType === "pen" && event.pressure ? event.pressure : null);

  canvas.addEventListener("pointerdown", (event) => {
    if (pen !== null && event.pointerType === "touch") return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    if (event.pointerType === "pen") {
      // A palm may have been there before it.
      if (painting !== null) tools.retract();
      painting = null;
      rest();
      fingers.set(event.pointerId, event);
      pen = event.pointerId;
    }
    if (fingers.size > 1 || event.button === 1 || event.altKey) {
      // What the first finger did until the second came was no stroke.
      if (painting !== null) tools.retract();
      painting = null;
      panning = true;
      canvas.classList.add("panning");
      return;
    }
    if (event.button !== 0) return;
    painting = event.pointerId;
    tools.down(view.place(event), pressure(event));
    onhover(view.place(event));
  });

  canvas.addEventListener("pointermove", (event) => {
    if (pen !== null && event.pointerType === "touch") return;
    if (panning && fingers.has(event.pointerId)) {
      pinch(event);
      return;
    }
    if (event.pointerId === painting) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) tools.move(view.place(one), pressure(one));
    }
    onhover(view.place(event));
  });

  function pinch(event) {
    const before = fingers.get(event.pointerId);
    const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
    if (other) {
      const far = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      if (far(before) > 0) view.zoomBy(far(event) / far(before), middle);
    }
    const share = fingers.size;
    view.pan((event.clientX - before.clientX) / share, (event.clientY - before.clientY) / share);
    fingers.set(event.pointerId, event);
  }

  function rest() {
    fingers.clear();
    panning = false;
    canvas.classList.remove("panning");
  }

  function end(event) {
    fingers.delete(event.pointerId);
    if (event.pointerId === pen) pen = null;
    if (event.pointerId === painting) {
      if (event.type === "pointercancel") tools.retract();
      else tools.up(view.place(event));
      painting = null;
    }
    if (fingers.size === 0) rest();
    if (event.pointerType === "touch") onhover(null);
  }
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => painting === null && onhover(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey || !event.shiftKey) view.zoomBy(Math.exp(-event.deltaY / 400), event);
    else view.pan(-event.deltaX - event.deltaY, 0);
    onhover(view.place(event));
  }, { passive: false });
}
