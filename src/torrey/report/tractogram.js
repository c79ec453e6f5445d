// Streamlines in WebGL as lines coloured by direction, fading with depth.
(function () {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("streamline-data").textContent);
  const canvas = byId("tracks");
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const points = new Float32Array(bytes(data.points)), counts = new Uint32Array(bytes(data.counts));

  const gl = canvas.getContext("webgl", { antialias: true, alpha: false });
  document.body.dataset.webgl = gl ? "yes" : "no";
  if (!gl) {
    byId("viewer").hidden = true;
    byId("no-webgl").hidden = false;
    document.body.dataset.ready = "true";
    return;
  }

  // Both ends of each piece, and its direction: |x| red, |y| green, |z| blue.
  const ends = [], colours = [];
  let radius = 1e-6, first = 0;
  for (const count of counts) {
    for (let i = first; i < first + count; i++) {
      const p = points.subarray(3 * i, 3 * i + 3);
      radius = Math.max(radius, Math.hypot(...p));
      if (i + 1 === first + count) continue;
      const q = points.subarray(3 * i + 3, 3 * i + 6);
      const step = [0, 1, 2].map((j) => Math.abs(q[j] - p[j]));
      const length = Math.hypot(...step) || 1;
      const colour = step.map((x) => (0.9 * x) / length);
      ends.push(...p, ...q);
      colours.push(...colour, ...colour);
    }
    first += count;
  }

  const program = linked(gl, `
    attribute vec3 position; attribute vec3 colour;
    uniform mat3 turn; uniform vec2 scale; uniform float depth;
    varying vec3 vColour; varying float vNear;
    void main() {
      vec3 p = turn * position;
      vColour = colour; vNear = 0.5 + p.z * depth;
      gl_Position = vec4(p.xy * scale, -p.z * depth, 1.0);
    }`, `
    precision mediump float;
    varying vec3 vColour; varying float vNear;
    uniform vec3 background;
    void main() { gl_FragColor = vec4(mix(background, vColour, 0.35 + 0.65 * vNear), 1.0); }`);
  gl.useProgram(program);
  for (const [name, values] of [["position", ends], ["colour", colours]]) {
    const location = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, 3, gl.FLOAT, false, 0, 0);
  }
  gl.enable(gl.DEPTH_TEST);
  const uniform = (name) => gl.getUniformLocation(program, name);
  gl.uniform3f(uniform("background"), ...BACKGROUND);
  gl.uniform1f(uniform("depth"), 0.5 / radius);

  function draw() {
    const scale = view.frame(gl, radius);
    gl.uniformMatrix3fv(uniform("turn"), false, [0, 1, 2].flatMap((j) => view.turn.map((row) => row[j])));
    gl.uniform2f(uniform("scale"), scale[0], scale[1]);
    gl.drawArrays(gl.LINES, 0, ends.length / 3);
    view.overlay((scale[0] * canvas.clientWidth) / 2);
  }
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  // from above: right, front, up
  const view = turntable(canvas, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "mm", redraw);
  const faces = { above: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], front: [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], right: [[0, 1, 0], [0, 0, 1], [1, 0, 0]] };
  for (const [name, axes] of Object.entries(faces))
    byId(`from-${name}`).addEventListener("click", () => { view.turn = axes; view.zoom = 1; redraw(); });

  draw();
  document.body.dataset.ready = "true";
})();
