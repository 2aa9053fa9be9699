// The tools: what a pointer, or the crosshair of the keyboard, does to the ids.
import { flood, swap } from "./fill.js";
import { capsule, ellipse, paint, polygon, rectangle, snap } from "./shapes.js";

export const TOOLS = [
  { name: "brush", title: "Brush", key: "B" },
  { name: "line", title: "Line", key: "L" },
  { name: "rect", title: "Rectangle", key: "U" },
  { name: "ellipse", title: "Ellipse", key: "O" },
  { name: "polygon", title: "Polygon", key: "P" },
  { name: "fill", title: "Fill", key: "G" },
  { name: "pick", title: "Pick a class", key: "I" },
  { name: "swap", title: "Swap two classes", key: "X" },
];
const SHAPES = { rect: rectangle, ellipse };
const OF_ONE_PRESS = ["polygon", "fill", "pick", "swap"];

export class Tools {
  #document;
  #start = null; // of the stroke, or the shape
  #pressed = null; // where a tool of one press is to act, once it is over
  #last = null;
  #points = []; // of the polygon
  #before = null;

  // `document` has `ids`, `size`, `tool`, `brush`, `classId` and calls to say what
  // happened: `changed(rows)`, `done(before)`, `picked(id)`, `say(words)`.
  constructor(document) {
    this.#document = document;
  }

  get isDrawing() { return this.#start !== null || this.#points.length > 0; }

  // `pressure` is that of a pen, 0 to 1, or null.
  down(place, pressure = null) {
    const d = this.#document;
    if (OF_ONE_PRESS.includes(d.tool)) {
      this.#pressed = place;
      return;
    }
    this.#before = d.ids.slice();
    this.#start = this.#last = place;
    if (d.tool === "brush") this.#stroke(place, pressure);
  }

  move(place, pressure = null) {
    if (this.#start && this.#document.tool === "brush") this.#stroke(place, pressure);
    this.#last = place;
  }

  up(place) {
    if (this.#pressed) return this.#act();
    if (!this.#start) return;
    const d = this.#document, start = this.#start;
    if (d.tool === "line") this.#fill(capsule(snap(start, d.brush), snap(place, d.brush), d.brush));
    else if (SHAPES[d.tool]) this.#fill(SHAPES[d.tool](start, place));
    this.#start = this.#last = null;
    d.changed();
    d.done(this.#before);
  }

  // Takes back the press that is not over.
  retract() {
    if (this.#start) {
      this.#document.ids.set(this.#before);
      this.#document.changed();
    }
    this.#start = this.#last = this.#pressed = null;
  }

  // Takes back all that is not finished.
  cancel() {
    this.retract();
    this.#points = [];
  }

  finishPolygon() {
    const d = this.#document, points = this.#points;
    this.#points = [];
    if (points.length < 3) return d.changed();
    const before = d.ids.slice();
    this.#fill(polygon(points));
    d.changed();
    d.done(before);
  }

  // Draws what is begun, and the brush at `place`.
  preview(context, scale, place) {
    const d = this.#document, path = new Path2D();
    const thin = devicePixelRatio / scale;
    if (this.#start && d.tool === "line" && place) {
      path.moveTo(this.#start.x, this.#start.y);
      path.lineTo(place.x, place.y);
    } else if (this.#start && SHAPES[d.tool] && place) {
      const [x0, x1] = sides(this.#start.x, place.x), [y0, y1] = sides(this.#start.y, place.y);
      if (d.tool === "rect") path.rect(x0, y0, x1 - x0, y1 - y0);
      else path.ellipse((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 0, 0, 7);
    } else if (this.#points.length) {
      this.#points.forEach((p, i) => (i ? path.lineTo(p.x, p.y) : path.moveTo(p.x, p.y)));
      if (place) path.lineTo(place.x, place.y);
    }
    if (place) {
      const isBrush = d.tool === "brush" || d.tool === "line";
      const middle = isBrush ? snap(place, d.brush) : place;
      const r = isBrush ? d.brush / 2 : 3 * thin;
      path.moveTo(middle.x + r, middle.y);
      path.arc(middle.x, middle.y, r, 0, 7);
    }
    for (const [colour, width] of [["#000", 3], ["#fff", 1.25]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * thin;
      context.stroke(path);
    }
  }

  // What was pressed is over.
  #act() {
    const d = this.#document, place = this.#pressed, { width, height } = d.size;
    this.#pressed = null;
    if (d.tool === "polygon") return this.#corner(place);
    const x = Math.floor(place.x), y = Math.floor(place.y);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const id = d.ids[y * width + x];
    if (d.tool === "pick") return d.picked(id);
    const before = d.ids.slice();
    if (d.tool === "fill") flood(d.ids, d.size, x, y, d.classId);
    else swap(d.ids, id, d.classId);
    d.changed();
    d.done(before);
  }

  #corner(place) {
    const first = this.#points[0], { width } = this.#document.size;
    // A press on the first corner closes it.
    if (this.#points.length > 2 && Math.hypot(place.x - first.x, place.y - first.y) < width / 50)
      return this.finishPolygon();
    this.#points.push(place);
    this.#document.say("Enter, or a press on the first corner, ends the polygon.");
    this.#document.changed();
  }

  #stroke(place, pressure) {
    const d = this.#document;
    const size = pressure === null ? d.brush : Math.max(1, Math.round(2 * pressure * d.brush));
    const [a, b] = [snap(this.#last, size), snap(place, size)];
    this.#fill(capsule(a, b, size));
    d.changed([Math.min(a.y, b.y) - size, Math.max(a.y, b.y) + size]);
    this.#last = place;
  }

  #fill(spans) {
    paint(this.#document.ids, this.#document.size, spans, this.#document.classId);
  }
}

// Of the pixels that two places lie in, the outer sides.
function sides(a, b) {
  return [Math.floor(Math.min(a, b)), Math.floor(Math.max(a, b)) + 1];
}
