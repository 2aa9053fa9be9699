// The layout as a person sees it: ids in colours, enlarged, moved, with what is drawn
// over them. One canvas for the layout, one above it for cursors and previews.

const MOST_ZOOM = 16;

export class View {
  #layout;
  #overlay;
  #ids; // a canvas of the layout's own size
  #palette;
  #zoom = 1;
  #x = 0; // of the layout's left upper corner, as a share of the width that is shown
  #y = 0;
  #pending = false;
  #drawOver = () => {};

  // Of the layout's `width` and `height`; `palette` has [red, green, blue] of each id.
  constructor(layout, overlay, { width, height, palette }) {
    Object.assign(this, { width, height });
    this.#layout = layout;
    this.#overlay = overlay;
    this.#ids = new OffscreenCanvas(width, height);
    this.#palette = Uint32Array.from(palette, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    this.photo = null; // what is traced, an ImageBitmap
    this.opacity = 0.45;
    this.picture = null; // shown in the layout's place, under its outlines
    this.outlines = null;
    this.onzoom = () => {};
    new ResizeObserver(() => this.#fit()).observe(layout);
    this.#fit();
  }

  // Ids in their colours, as a canvas of the layout's own size.
  paintIds = (ids) => {
    const canvas = new OffscreenCanvas(this.width, this.height);
    this.#put(canvas, ids, 0, this.height);
    return canvas;
  };

  // Draws ids anew, all of them or those of some rows.
  showIds(ids, from = 0, to = this.height) {
    from = Math.max(0, from);
    to = Math.min(this.height, to);
    if (from >= to) return;
    this.#put(this.#ids, ids, from, to);
    this.draw();
  }

  #put(canvas, ids, from, to) {
    const part = new ImageData(this.width, to - from);
    const pixels = new Uint32Array(part.data.buffer), offset = from * this.width;
    for (let i = 0; i < pixels.length; i++) pixels[i] = this.#palette[ids[offset + i]];
    canvas.getContext("2d").putImageData(part, 0, from);
  }

  // What is drawn over the layout: called with a context, and pixels of the screen for
  // one of the layout.
  drawOver(draw) {
    this.#drawOver = draw;
    this.draw();
  }

  draw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#paint();
    });
  }

  // Where a pointer is, in pixels of the layout.
  place(event) {
    const box = this.#overlay.getBoundingClientRect(), scale = this.#scale(box.width);
    return {
      x: (event.clientX - box.left - this.#x * box.width) / scale,
      y: (event.clientY - box.top - this.#y * box.width) / scale,
    };
  }

  zoomBy(factor, at = null) {
    const before = this.#zoom, ratio = this.height / this.width;
    this.#zoom = Math.min(MOST_ZOOM, Math.max(1, before * factor));
    const box = this.#overlay.getBoundingClientRect();
    const x = at ? (at.clientX - box.left) / box.width : 0.5;
    const y = at ? (at.clientY - box.top) / box.width : ratio / 2;
    const change = this.#zoom / before;
    this.#move(x - (x - this.#x) * change, y - (y - this.#y) * change);
  }

  // By pixels of the page.
  pan(dx, dy) {
    const { width } = this.#overlay.getBoundingClientRect();
    this.#move(this.#x + dx / width, this.#y + dy / width);
  }

  fit() {
    this.#zoom = 1;
    this.#move(0, 0);
  }

  #move(x, y) {
    const least = 1 - this.#zoom;
    this.#x = Math.min(0, Math.max(least, x));
    this.#y = Math.min(0, Math.max((least * this.height) / this.width, y));
    this.onzoom(this.#zoom);
    this.draw();
  }

  #scale(width) { return (width * this.#zoom) / this.width; }

  #fit() {
    const { width, height } = this.#layout.getBoundingClientRect();
    for (const canvas of [this.#layout, this.#overlay])
      Object.assign(canvas, {
        width: Math.max(1, Math.round(width * devicePixelRatio)),
        height: Math.max(1, Math.round(height * devicePixelRatio)),
      });
    // At once, as a canvas that gets a size is empty.
    this.#paint();
  }

  #paint() {
    const below = this.#layout.getContext("2d"), above = this.#overlay.getContext("2d");
    const { width, height } = this.#layout, scale = this.#scale(width);
    for (const context of [below, above]) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, width, height);
      context.setTransform(scale, 0, 0, scale, this.#x * width, this.#y * width);
    }
    if (this.picture) {
      below.imageSmoothingEnabled = true;
      below.drawImage(this.picture, 0, 0, this.width, this.height);
      if (this.outlines) outline(below, this.outlines, scale);
    } else {
      below.imageSmoothingEnabled = false;
      below.drawImage(this.#ids, 0, 0);
    }
    if (this.photo) {
      below.globalAlpha = this.opacity;
      below.imageSmoothingEnabled = true;
      below.drawImage(this.photo, 0, 0, this.width, this.height);
      below.globalAlpha = 1;
    }
    this.#drawOver(above, scale);
  }
}

// The borders between classes, dark and light so that they show on every picture.
function outline(context, path, scale) {
  for (const [colour, width] of [["#0009", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = (width * devicePixelRatio) / scale;
    context.stroke(path);
  }
}

export function outlines(ids, { width, height }) {
  const path = new Path2D();
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (x + 1 < width && ids[i] !== ids[i + 1]) {
        path.moveTo(x + 1, y);
        path.lineTo(x + 1, y + 1);
      }
      if (y + 1 < height && ids[i] !== ids[i + width]) {
        path.moveTo(x, y + 1);
        path.lineTo(x + 1, y + 1);
      }
    }
  return path;
}
