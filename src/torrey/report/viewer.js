"use strict";
// The reconstructed surface in WebGL: orthographic, so that the scale bar holds everywhere in the picture.
(function () {
  const body = document.body;
  const data = JSON.parse(document.getElementById("surface-data").textContent);
  const canvas = document.getElementById("surface");
  const byId = (id) => document.getElementById(id);

  function bytes(text) {
    const raw = atob(text);
    const array = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) array[i] = raw.charCodeAt(i);
    return array.buffer;
  }
  const floats = (text) => new Float32Array(bytes(text));
  const significant = (x) => Number(x.toPrecision(3)).toString();

  const rest = floats(data.vertices);
  const triangles = new Uint32Array(bytes(data.triangles));
  const deviation = floats(data.deviation);
  const directions = data.directions.map((d) => Object.assign({}, d, { displacement: floats(d.displacement) }));
  const nVertices = rest.length / 3;
  let radius = 0;
  for (let i = 0; i < nVertices; i++) radius = Math.max(radius, Math.hypot(rest[3 * i], rest[3 * i + 1], rest[3 * i + 2]));

  const VERTEX = `
    attribute vec3 position; attribute vec3 normal; attribute vec3 colour;
    uniform mat3 turn; uniform vec2 scale; uniform float depth; uniform float lift;
    varying vec3 vNormal; varying vec3 vColour;
    void main() {
      vec3 p = turn * position;
      vNormal = turn * normal; vColour = colour;
      gl_Position = vec4(p.xy * scale, -p.z * depth - lift, 1.0);
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec3 vNormal; varying vec3 vColour;
    uniform float flat_;
    void main() {
      vec3 n = normalize(vNormal);
      float key = max(dot(n, normalize(vec3(-0.4, 0.6, 0.8))), 0.0);
      float fill = max(dot(n, normalize(vec3(0.7, -0.3, 0.4))), 0.0);
      float shine = pow(max(dot(n, normalize(vec3(-0.2, 0.3, 1.0))), 0.0), 40.0);
      vec3 lit = vColour * (0.52 + 0.5 * key + 0.18 * fill) + 0.1 * shine;
      gl_FragColor = vec4(mix(lit, vColour, flat_), 1.0);
    }`;
  const PLAIN = [0.47, 0.67, 0.84];

  const gl = canvas.getContext("webgl", { antialias: true, alpha: false });
  const able = gl && (nVertices < 65536 || gl.getExtension("OES_element_index_uint"));
  if (!able) {
    byId("viewer").hidden = true;
    byId("no-webgl").hidden = false;
    body.dataset.webgl = "no";
    body.dataset.ready = "true";
    return;
  }
  body.dataset.webgl = "yes";

  const program = linked(gl, VERTEX, FRAGMENT);
  gl.useProgram(program);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const at = { turn: uniform("turn"), scale: uniform("scale"), depth: uniform("depth"), lift: uniform("lift"), flat: uniform("flat_") };

  function attribute(name) {
    const buffer = gl.createBuffer();
    const location = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, 3, gl.FLOAT, false, 0, 0);
    return (values) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    };
  }
  const setPosition = attribute("position"), setNormal = attribute("normal"), setColour = attribute("colour");

  const indexType = nVertices < 65536 ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT;
  const indices = (list) => (nVertices < 65536 ? new Uint16Array(list) : new Uint32Array(list));
  function edges() {
    const seen = new Set(), list = [];
    for (let t = 0; t < triangles.length; t += 3)
      for (let k = 0; k < 3; k++) {
        const a = triangles[t + k], b = triangles[t + ((k + 1) % 3)];
        const key = Math.min(a, b) * nVertices + Math.max(a, b);
        if (!seen.has(key)) { seen.add(key); list.push(a, b); }
      }
    return list;
  }
  const faceBuffer = gl.createBuffer(), edgeBuffer = gl.createBuffer();
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faceBuffer);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices(triangles), gl.STATIC_DRAW);
  const edgeList = edges();
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, edgeBuffer);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices(edgeList), gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);

  function normalsOf(p) {
    const n = new Float32Array(p.length);
    for (let t = 0; t < triangles.length; t += 3) {
      const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
      for (const i of [a, b, c]) { n[i] += x; n[i + 1] += y; n[i + 2] += z; }
    }
    for (let i = 0; i < n.length; i += 3) {
      const s = 1 / (Math.hypot(n[i], n[i + 1], n[i + 2]) || 1);
      n[i] *= s; n[i + 1] *= s; n[i + 2] *= s;
    }
    return n;
  }
  const restNormals = normalsOf(rest);

  // Colour maps safe for colour-blind readers: white to blue for size, blue - white - orange for sign.
  const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
  const PALE = [0.93, 0.93, 0.9], BLUE = [0.0, 0.33, 0.62], ORANGE = [0.85, 0.42, 0.0];
  const sizeColour = (t) => (t < 0.5 ? mix([0.95, 0.94, 0.88], [0.36, 0.62, 0.75], 2 * t) : mix([0.36, 0.62, 0.75], [0.04, 0.13, 0.42], 2 * t - 1));
  const signColour = (t) => (t < 0 ? mix(PALE, BLUE, -t) : mix(PALE, ORANGE, t));
  const css = (c) => `rgb(${c.map((v) => Math.round(255 * v)).join(" ")})`;

  function along(direction) {
    const values = new Float32Array(nVertices), u = direction.displacement;
    for (let i = 0; i < nVertices; i++)
      values[i] = u[3 * i] * restNormals[3 * i] + u[3 * i + 1] * restNormals[3 * i + 1] + u[3 * i + 2] * restNormals[3 * i + 2];
    return values;
  }
  function paint(values, colour) {
    const out = new Float32Array(3 * nVertices);
    for (let i = 0; i < nVertices; i++) out.set(values ? colour(values[i]) : PLAIN, 3 * i);
    setColour(out);
  }
  function bar(show, stops, low, high, text) {
    byId("colour-bar").hidden = !show;
    if (!show) return;
    byId("colour-strip").style.background = `linear-gradient(to right, ${stops.map(css).join(",")})`;
    byId("colour-low").textContent = low;
    byId("colour-high").textContent = high;
    byId("colour-text").textContent = text;
  }
  const steps = (from, to) => Array.from({ length: 9 }, (_, k) => from + ((to - from) * k) / 8);

  const directionBox = byId("direction"), slider = byId("amplitude"), rangeBox = byId("range"), colourBox = byId("colouring");
  directions.forEach((d, k) => {
    const option = document.createElement("option");
    option.value = String(k);
    const rank = d.number === 1 ? " (best determined)" : d.number === d.of ? " (worst determined)" : "";
    option.textContent = `${d.number} of ${d.of}${rank}: σ ${d.sigma === null ? "open" : significant(d.sigma) + " µm"}`;
    directionBox.appendChild(option);
  });

  const chosen = () => (directionBox.value === "" ? null : directions[Number(directionBox.value)]);
  // Largest rms displacement of the slider. The deformation is linear: beyond a tenth of the size it means nothing.
  function reach(d) {
    const limit = 0.1 * radius;
    return rangeBox.value === "shape" || d.sigma === null ? limit : Math.min(3 * d.sigma, limit);
  }
  function recolour() {
    const d = chosen();
    if (colourBox.value === "deviation") {
      // one fixed scale, so that two reports can be compared
      const shade = (v) => sizeColour(Math.min(Math.max(Math.log(v / 0.01) / Math.log(300), 0), 1));
      paint(deviation, shade);
      bar(true, steps(0, 1).map(sizeColour), "0.01 µm", "3 µm", "standard deviation of the surface along its normal, log scale");
    } else if (colourBox.value === "direction" && d) {
      const values = along(d);
      const top = values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-12);
      paint(values, (v) => signColour(v / top));
      bar(true, steps(-1, 1).map(signColour), "inwards", "outwards", "where the chosen direction moves the surface");
    } else {
      paint(null);
      bar(false);
    }
  }
  function deform() {
    const d = chosen();
    slider.disabled = rangeBox.disabled = !d;
    const moved = Float32Array.from(rest);
    let text = "the reconstruction itself";
    if (d) {
      const amount = (Number(slider.value) / 100) * reach(d);
      for (let i = 0; i < moved.length; i++) moved[i] += amount * d.displacement[i];
      const sigmas = d.sigma === null || d.sigma === 0 ? "" : ` = ${significant(amount / d.sigma)} σ`;
      text = `${amount < 0 ? "−" : "+"}${significant(Math.abs(amount))} µm rms${sigmas.replace("-", "−")}`;
    }
    byId("amplitude-text").textContent = text;
    setPosition(moved);
    setNormal(normalsOf(moved));
  }

  function draw() {
    const scale = view.frame(gl, radius);
    gl.uniformMatrix3fv(at.turn, false, [0, 1, 2].flatMap((j) => view.turn.map((row) => row[j])));
    gl.uniform2f(at.scale, scale[0], scale[1]);
    gl.uniform1f(at.depth, 1 / (4 * radius));
    gl.uniform1f(at.flat, 0);
    gl.uniform1f(at.lift, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faceBuffer);
    gl.drawElements(gl.TRIANGLES, triangles.length, indexType, 0);
    if (byId("edges").checked) {
      gl.uniform1f(at.flat, 1);
      gl.uniform1f(at.lift, 0.002);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, edgeBuffer);
      gl.disableVertexAttribArray(gl.getAttribLocation(program, "colour"));
      gl.vertexAttrib3f(gl.getAttribLocation(program, "colour"), 0.2, 0.25, 0.32);
      gl.drawElements(gl.LINES, edgeList.length, indexType, 0);
      gl.enableVertexAttribArray(gl.getAttribLocation(program, "colour"));
    }
    view.overlay((scale[0] * canvas.clientWidth) / 2);
  }
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  const view = turntable(canvas, data.axes, "µm", redraw);
  directionBox.addEventListener("change", () => {
    slider.value = chosen() ? "100" : "0";
    if (chosen() && colourBox.value === "plain") colourBox.value = "direction";
    recolour(); deform(); redraw();
  });
  slider.addEventListener("input", () => { deform(); redraw(); });
  rangeBox.addEventListener("change", () => { deform(); redraw(); });
  colourBox.addEventListener("change", () => { recolour(); redraw(); });
  byId("edges").addEventListener("change", redraw);
  byId("reset").addEventListener("click", () => { view.reset(); directionBox.value = ""; slider.value = "0"; colourBox.value = "plain"; recolour(); deform(); redraw(); });

  recolour();
  deform();
  draw();
  body.dataset.ready = "true";
})();
