// Painting without a pointer: a crosshair on the layout, moved by arrows.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function listenToArrows(canvas, tools, { size, isShape, onmove }) {
  let at = { x: Math.floor(size.width / 2) + 0.5, y: Math.floor(size.height / 2) + 0.5 };
  let held = false;

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (STEPS[event.key]) {
      const [dx, dy] = STEPS[event.key], far = event.shiftKey ? 10 : 1;
      at = {
        x: Math.min(size.width - 0.5, Math.max(0.5, at.x + far * dx)),
        y: Math.min(size.height - 0.5, Math.max(0.5, at.y + far * dy)),
      };
      if (tools.isDrawing) tools.move(at);
    } else if (event.key === " ") {
      if (event.repeat) return event.preventDefault();
      if (isShape() && tools.isDrawing) tools.up(at);
      else {
        tools.down(at);
        held = !isShape();
      }
    } else if (event.key === "Enter") {
      tools.finishPolygon();
    } else return;
    event.preventDefault();
    onmove(at);
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key !== " " || !held) return;
    held = false;
    tools.up(at);
  });
  canvas.addEventListener("blur", () => {
    if (held) tools.up(at);
    held = false;
  });
}
