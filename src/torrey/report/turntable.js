"use strict";
// What the 3-D views share: a picture that mouse, fingers and keys turn and zoom, its axes and its scale bar.
const BACKGROUND = [0.965, 0.97, 0.978];

function linked(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const made = gl.createShader(kind);
    gl.shaderSource(made, source);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    gl.attachShader(program, made);
  }
  gl.linkProgram(program);
  return program;
}

// `axes` are the rows that the picture starts from, `unit` that of the scale bar; `redraw` asks for a frame.
function turntable(canvas, axes, unit, redraw) {
  const byId = (id) => document.getElementById(id);
  // Rows of `turn` are the screen's right, up and towards the viewer.
  const view = { turn: null, zoom: 1, reset, frame, overlay };

  function rotateBy(ax, ay) {
    const [cx, sx, cy, sy] = [Math.cos(ay), Math.sin(ay), Math.cos(ax), Math.sin(ax)];
    const m = [[cy, 0, sy], [sx * sy, cx, -sx * cy], [-cx * sy, sx, cx * cy]];
    const last = view.turn;
    view.turn = m.map((row) => [0, 1, 2].map((j) => row[0] * last[0][j] + row[1] * last[1][j] + row[2] * last[2][j]));
  }
  function reset() {
    view.turn = axes.map((row) => row.slice());
    view.zoom = 1;
    rotateBy(0.35, 0.3);
  }

  // Clear the canvas and return the scale of both axes, for a scene of this radius.
  function frame(gl, radius) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(...BACKGROUND, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const half = (1.08 * radius) / view.zoom;
    return width > height ? [height / width / half, 1 / half] : [1 / half, width / height / half];
  }
  function overlay(pixelsPerUnit) {
    const target = Math.min(160, canvas.clientWidth / 3) / pixelsPerUnit;
    const power = Math.pow(10, Math.floor(Math.log10(target)));
    const length = [5, 2, 1].map((m) => m * power).find((v) => v <= target);
    byId("scale-bar").style.width = `${length * pixelsPerUnit}px`;
    byId("scale-text").textContent = `${Number(length.toPrecision(3))} ${unit}`;
    ["x", "y", "z"].forEach((name, j) => {
      const x = 40 + 26 * view.turn[0][j], y = 40 - 26 * view.turn[1][j];
      const arm = byId(`axis-${name}`), label = byId(`axis-${name}-text`);
      arm.setAttribute("x2", x.toFixed(1));
      arm.setAttribute("y2", y.toFixed(1));
      label.setAttribute("x", (40 + 34 * view.turn[0][j]).toFixed(1));
      label.setAttribute("y", (44 - 34 * view.turn[1][j]).toFixed(1));
    });
  }

  const fingers = new Map();
  let pinch = 0;
  const zoomBy = (factor) => { view.zoom = Math.min(40, Math.max(0.3, view.zoom * factor)); redraw(); };
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 2) pinch = spread();
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last.x, dy = event.clientY - last.y;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 1) { rotateBy(dx * 0.009, dy * 0.009); redraw(); }
    else if (fingers.size === 2) { const now = spread(); if (pinch > 0) zoomBy(now / pinch); pinch = now; }
  });
  const lift = (event) => fingers.delete(event.pointerId);
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomBy(Math.exp(-event.deltaY * 0.0012)); }, { passive: false });
  canvas.addEventListener("dblclick", () => { reset(); redraw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) rotateBy(...step);
    else if (event.key === "+" || event.key === "=") zoomBy(1.15);
    else if (event.key === "-") zoomBy(1 / 1.15);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
    redraw();
  });
  window.addEventListener("resize", redraw);
  canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); byId("viewer").hidden = true; byId("no-webgl").hidden = false; });

  reset();
  return view;
}
