// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The viewer: ribbons of both structures, sticks and balls of ligands (and of all atoms on demand),
// in WebGL 2. Secondary structure is told from distances between trace atoms alone (after Labesse
// et al. 1997), for each structure from its own coordinates, so a prediction gets no helix that it
// has not made. Where WebGL 2 is missing, the page's still picture stays.
#include "report/assets.h"

namespace megafold {

const char kReportViewerScript[] = R"js(
"use strict";
(() => {
  const holder = document.getElementById("scene");
  const view = document.getElementById("view");
  if (!holder || !view) return;
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
  if (!gl) return;
  const data = JSON.parse(holder.textContent);
  const residues = data.residues.map(([name, number, chain, first, count, trace, guide, score], index) =>
    ({ name, number, chain, first, count, trace, guide, score, index }));

  // ---- vectors
  const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
  const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
  const mul = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const size = (a) => Math.hypot(a[0], a[1], a[2]);
  const unit = (a) => { const n = size(a); return n > 1e-6 ? mul(a, 1 / n) : [0, 0, 1]; };
  const mix = (a, b, t) => add(mul(a, 1 - t), mul(b, t));
  const place = (xyz, atom) => [xyz[3 * atom] / 100, xyz[3 * atom + 1] / 100, xyz[3 * atom + 2] / 100];

  // ---- meshes: position, normal, class of colour, residue
  class Mesh {
    constructor() { this.vertices = []; this.indices = []; this.count = 0; }
    vertex(p, n, cls, residue) { this.vertices.push(p[0], p[1], p[2], n[0], n[1], n[2], cls, residue); return this.count++; }
    quad(a, b, c, d) { this.indices.push(a, b, c, a, c, d); }
    upload() {
      this.vao = gl.createVertexArray();
      gl.bindVertexArray(this.vao);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(this.vertices), gl.STATIC_DRAW);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(this.indices), gl.STATIC_DRAW);
      for (const [slot, length, offset] of [[0, 3, 0], [1, 3, 12], [2, 2, 24]]) {
        gl.enableVertexAttribArray(slot);
        gl.vertexAttribPointer(slot, length, gl.FLOAT, false, 32, offset);
      }
      this.length = this.indices.length;
      this.vertices = this.indices = null;
      return this;
    }
  }
  const ball = (mesh, center, radius, cls, residue) => {
    const rows = 10, columns = 16, base = mesh.count;
    for (let i = 0; i <= rows; i++) {
      const a = Math.PI * i / rows;
      for (let j = 0; j <= columns; j++) {
        const b = 2 * Math.PI * j / columns;
        const n = [Math.sin(a) * Math.cos(b), Math.cos(a), Math.sin(a) * Math.sin(b)];
        mesh.vertex(add(center, mul(n, radius)), n, cls, residue);
      }
    }
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
      const a = base + i * (columns + 1) + j, b = a + columns + 1;
      mesh.quad(a, b, b + 1, a + 1);
    }
  };
  const stick = (mesh, from, to, radius, cls, residue) => {
    const along = unit(sub(to, from));
    const u = unit(cross(along, Math.abs(along[0]) < 0.8 ? [1, 0, 0] : [0, 1, 0])), v = cross(along, u);
    const sides = 10, base = mesh.count;
    for (let k = 0; k <= sides; k++) {
      const a = 2 * Math.PI * k / sides, n = add(mul(u, Math.cos(a)), mul(v, Math.sin(a)));
      mesh.vertex(add(from, mul(n, radius)), n, cls, residue);
      mesh.vertex(add(to, mul(n, radius)), n, cls, residue);
    }
    for (let k = 0; k < sides; k++) mesh.quad(base + 2 * k, base + 2 * k + 2, base + 2 * k + 3, base + 2 * k + 1);
  };

  // ---- runs of residues along a chain
  const runsOf = (xyz, known) => {
    const runs = [];
    let run = [];
    const close = () => { if (run.length > 1) runs.push(run); run = []; };
    residues.forEach((r, i) => {
      const usable = r.trace >= 0 && (!known || data.resolved[r.trace]);
      if (!usable) return close();
      const p = place(xyz, r.trace), last = run[run.length - 1];
      // A gap in the truth is a gap; a prediction is drawn as it is, torn chains too.
      if (last && (residues[i - 1].chain !== r.chain || (known && size(sub(p, last.p)) > 9))) close();
      const guided = r.guide >= 0 && (!known || data.resolved[r.guide]);
      run.push({ p, w: guided ? sub(place(xyz, r.guide), p) : null, residue: i, cls: scoreClass(r.score),
                 protein: data.chains[r.chain][1] === 0 });
    });
    close();
    return runs;
  };
  const scoreClass = (s) => s === null ? 4 : s >= 0.9 ? 0 : s >= 0.7 ? 1 : s >= 0.5 ? 2 : 3;
  // "h" helix, "e" strand, "c" coil, from distances between residues i and i + 2, 3, 4.
  const structureOf = (run) => {
    const n = run.length, ss = new Array(n).fill("c");
    const near = (i, k, d, tolerance) => i >= 0 && i + k < n && Math.abs(size(sub(run[i].p, run[i + k].p)) - d) <= tolerance;
    for (let i = 0; i + 4 < n; i++) {
      if (!run[i].protein) continue;
      if (near(i, 2, 5.5, 0.7) && near(i, 3, 5.3, 0.8) && near(i, 4, 6.3, 0.9)) for (let k = 0; k <= 4; k++) ss[i + k] = "h";
    }
    for (let i = 0; i + 4 < n; i++) {
      if (!run[i].protein) continue;
      if (near(i, 2, 6.5, 0.7) && near(i, 3, 9.9, 1.1) && near(i, 4, 12.6, 1.6)) {
        for (let k = 0; k <= 4; k++) if (ss[i + k] === "c") ss[i + k] = "e";
      }
    }
    for (let i = 0; i < n;) {  // shorter than three residues is no element
      let j = i;
      while (j < n && ss[j] === ss[i]) j++;
      if (ss[i] !== "c" && j - i < 3) ss.fill("c", i, j);
      i = j;
    }
    return ss;
  };
  const kSteps = 8, kSides = 12;
  const ribbon = (mesh, run, thin) => {
    const n = run.length, ss = structureOf(run);
    // Strands are drawn without their pleat.
    const p = run.map((r, i) => ss[i] === "e" && i > 0 && i < n - 1
      ? add(mul(r.p, 0.5), mul(add(run[i - 1].p, run[i + 1].p), 0.25)) : r.p);
    const wide = [];
    for (let i = 0; i < n; i++) {
      const t = unit(sub(p[Math.min(i + 1, n - 1)], p[Math.max(i - 1, 0)]));
      let w = run[i].w || (i > 0 ? wide[i - 1] : cross(t, [0.3, 0.5, 0.8]));
      w = unit(sub(w, mul(t, dot(w, t))));
      if (i > 0 && dot(w, wide[i - 1]) < 0) w = mul(w, -1);
      wide.push(w);
    }
    // Half width and half thickness of the cross-section at residue i + f.
    const shape = (i, f) => {
      const half = (k) => {
        const s = ss[Math.min(Math.max(k, 0), n - 1)];
        return !run[0].protein ? [0.9, 0.28] : s === "h" ? [1.35, 0.24] : s === "e" ? [1.05, 0.24] : [0.32, 0.32];
      };
      const a = half(i), b = half(i + 1), ease = f * f * (3 - 2 * f);
      let width = a[0] + (b[0] - a[0]) * ease, thick = a[1] + (b[1] - a[1]) * ease;
      // A strand's last step is its arrow.
      if (ss[i] === "e" && (i + 1 >= n || ss[i + 1] !== "e")) width = 0.3 + 1.5 * (1 - f);
      return thin ? [0.5 * width, 0.5 * thick + 0.06] : [width, thick];
    };
    const base = mesh.count;
    let rings = 0;
    for (let i = 0; i < n; i++) {
      const p0 = p[Math.max(i - 1, 0)], p1 = p[i], p2 = p[Math.min(i + 1, n - 1)], p3 = p[Math.min(i + 2, n - 1)];
      const steps = i === n - 1 ? 1 : kSteps;
      for (let k = 0; k < steps; k++) {
        const f = k / kSteps;
        const c = (a, b, d, e) => 0.5 * (2 * b + (d - a) * f + (2 * a - 5 * b + 4 * d - e) * f * f + (3 * b - a - 3 * d + e) * f * f * f);
        const q = (a, b, d, e) => 0.5 * ((d - a) + 2 * (2 * a - 5 * b + 4 * d - e) * f + 3 * (3 * b - a - 3 * d + e) * f * f);
        const at = [0, 1, 2].map((x) => c(p0[x], p1[x], p2[x], p3[x]));
        const tangent = unit([0, 1, 2].map((x) => q(p0[x], p1[x], p2[x], p3[x])));
        let w = mix(wide[i], wide[Math.min(i + 1, n - 1)], f);
        w = unit(sub(w, mul(tangent, dot(w, tangent))));
        const h = cross(tangent, w), [a, b] = shape(i, f);
        const owner = f <= 0.5 || i === n - 1 ? run[i] : run[i + 1];
        for (let s = 0; s < kSides; s++) {
          const angle = 2 * Math.PI * s / kSides, x = Math.cos(angle), y = Math.sin(angle);
          mesh.vertex(add(at, add(mul(w, a * x), mul(h, b * y))), unit(add(mul(w, x / a), mul(h, y / b))),
                      thin ? 5 : owner.cls, owner.residue);
        }
        rings++;
      }
    }
    for (let r = 0; r + 1 < rings; r++) for (let s = 0; s < kSides; s++) {
      const a = base + r * kSides + s, b = base + r * kSides + (s + 1) % kSides;
      mesh.quad(a, b, b + kSides, a + kSides);
    }
    for (const r of [0, rings - 1]) for (let s = 1; s + 1 < kSides; s++) {
      mesh.indices.push(base + r * kSides, base + r * kSides + s, base + r * kSides + s + 1);
    }
  };
  const residueOf = new Int32Array(data.elements.length);
  for (const r of residues) residueOf.fill(r.index, r.first, r.first + r.count);
  const isLigand = (r) => data.chains[residues[r].chain][1] === 3;
  const atoms = (xyz, known, ligands) => {
    const mesh = new Mesh(), bonded = new Uint8Array(data.elements.length);
    const radius = ligands ? 0.2 : 0.13;
    const cls = (r) => known ? 5 : scoreClass(residues[r].score);
    for (let k = 0; k < data.bonds.length; k += 2) {
      const a = data.bonds[k], b = data.bonds[k + 1];
      if (known && !(data.resolved[a] && data.resolved[b])) continue;
      if (isLigand(residueOf[a]) !== ligands) continue;
      bonded[a] = bonded[b] = 1;
      const from = place(xyz, a), to = place(xyz, b);
      if (size(sub(from, to)) > 4) continue;  // a prediction that has torn the bond
      stick(mesh, from, to, known ? 0.6 * radius : radius, cls(residueOf[a]), residueOf[a]);
    }
    data.elements.forEach((z, a) => {
      const r = residueOf[a];
      if (isLigand(r) !== ligands || (known && !data.resolved[a])) return;
      const size_here = bonded[a] ? (ligands ? 0.34 : 0.13) : 0.75;
      ball(mesh, place(xyz, a), known ? 0.7 * size_here : size_here, cls(r), r);
    });
    return mesh;
  };

  const hasTruth = data.resolved.some((r) => r);
  const parts = { predicted: [], truth: [], atoms_predicted: [], atoms_truth: [] };
  const make = (xyz, known) => {
    const mesh = new Mesh();
    for (const run of runsOf(xyz, known)) ribbon(mesh, run, known);
    return [mesh.upload(), atoms(xyz, known, true).upload()];
  };
  parts.predicted = make(data.predicted, false);
  if (hasTruth) parts.truth = make(data.truth, true);

  // ---- shaders
  const compile = (type, source) => {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, "#version 300 es\nprecision highp float;\n" + source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER, `
    layout(location = 0) in vec3 place;
    layout(location = 1) in vec3 normal;
    layout(location = 2) in vec2 tag;
    uniform mat3 turn; uniform vec2 scale; uniform float radius; uniform vec3 palette[6]; uniform float picked;
    out vec3 n; out vec3 color; out float depth;
    void main() {
      vec3 p = turn * place;
      n = turn * normal;
      color = palette[int(tag.x + 0.5)];
      if (picked >= 0.0) color = abs(tag.y - picked) < 0.5 ? color : mix(color, vec3(dot(color, vec3(0.33))), 0.75);
      depth = p.z / radius;
      float near = 1.0 / (1.0 - 0.16 * depth);
      gl_Position = vec4(p.xy * scale * near, -0.4 * depth, 1.0);
    }`));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `
    in vec3 n; in vec3 color; in float depth;
    uniform vec3 fog; uniform float alpha;
    out vec4 pixel;
    void main() {
      vec3 m = normalize(gl_FrontFacing ? n : -n);
      if (m.z < 0.0) m.z *= 0.2;
      float key = max(0.0, dot(m, normalize(vec3(-0.45, 0.6, 0.75))));
      float fill = 0.5 + 0.5 * m.y;
      float shine = pow(max(0.0, dot(m, normalize(vec3(-0.25, 0.35, 1.0)))), 40.0);
      vec3 lit = color * (0.42 + 0.16 * fill + 0.56 * key) + vec3(0.16 * shine);
      lit *= 0.72 + 0.28 * smoothstep(0.0, 0.45, m.z);  // darker towards the outline
      lit = mix(lit, fog, 0.55 * smoothstep(0.35, -1.1, depth));
      pixel = vec4(lit * alpha, alpha);
    }`));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  const at = (name) => gl.getUniformLocation(program, name);
  const u = { turn: at("turn"), scale: at("scale"), radius: at("radius"), palette: at("palette"), picked: at("picked"), fog: at("fog"), alpha: at("alpha") };

  // ---- state
  let radius = 1;
  for (const xyz of hasTruth ? [data.truth, data.predicted] : [data.predicted]) {
    for (let a = 0; a < data.elements.length; a++) {
      if (xyz === data.truth && !data.resolved[a]) continue;
      radius = Math.max(radius, size(place(xyz, a)));
    }
  }
  let half = [1, 1];  // half width and height of what is shown, for the first view
  for (let a = 0; a < data.elements.length; a++) {
    const p = place(data.predicted, a);
    half = [Math.max(half[0], Math.abs(p[0])), Math.max(half[1], Math.abs(p[1]))];
  }
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = { predicted: true, truth: hasTruth, atoms: false, spin: !calm, zoom: 1, picked: -1 };
  let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];  // column-major
  const rotate = (x, y) => {  // about the page's axes
    const cx = Math.cos(x), sx = Math.sin(x), cy = Math.cos(y), sy = Math.sin(y), out = [];
    for (let k = 0; k < 9; k += 3) {
      const [a, b, c] = turn.slice(k, k + 3);
      const b1 = cx * b - sx * c, c1 = sx * b + cx * c;
      out.push(cy * a + sy * c1, b1, -sy * a + cy * c1);
    }
    turn = out;
  };
  const rgb = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  };
  let palette, fog;
  const theme = () => {
    palette = new Float32Array(["--c0", "--c1", "--c2", "--c3", "--c4", "--truth"].flatMap(rgb));
    fog = rgb("--card");
    draw();
  };
  let waiting = false;
  const draw = () => { if (!waiting) { waiting = true; requestAnimationFrame(render); } };
  const paint = (list, alpha) => {
    for (const mesh of list) {
      if (!mesh.length) continue;
      gl.bindVertexArray(mesh.vao);
      const go = () => gl.drawElements(gl.TRIANGLES, mesh.length, gl.UNSIGNED_INT, 0);
      gl.uniform1f(u.alpha, alpha);
      if (alpha < 1) {  // its depth first, so that only its nearest face is blended
        gl.colorMask(false, false, false, false);
        go();
        gl.colorMask(true, true, true, true);
        gl.enable(gl.BLEND);
        gl.depthFunc(gl.LEQUAL);
      }
      go();
      gl.disable(gl.BLEND);
      gl.depthFunc(gl.LESS);
    }
  };
  let last = 0, visible = true;
  const render = (now) => {
    waiting = false;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * density), height = Math.round(canvas.clientHeight * density);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    if (state.spin && visible) {
      rotate(0, Math.min(now - last, 50) * 0.00035);
      draw();
    }
    last = now;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const fit = 0.88 * state.zoom * Math.min(width / 2 / half[0], height / 2 / half[1]);
    gl.uniform2f(u.scale, 2 * fit / width, 2 * fit / height);
    gl.uniform1f(u.radius, radius);
    gl.uniformMatrix3fv(u.turn, false, turn);
    gl.uniform3fv(u.palette, palette);
    gl.uniform3fv(u.fog, fog);
    gl.uniform1f(u.picked, state.picked);
    if (state.atoms) {
      for (const [name, xyz, known] of [["predicted", data.predicted, false], ["truth", data.truth, true]]) {
        const key = "atoms_" + name;
        if (state[name] && !parts[key].length) parts[key] = [atoms(xyz, known, false).upload()];
        if (state[name]) paint(parts[key], 1);
      }
    }
    if (state.predicted) paint(parts.predicted, state.atoms ? 0.35 : 1);
    if (state.truth) paint(parts.truth, state.predicted ? 0.75 : 1);
  };

  // ---- hands
  const fingers = new Map();
  canvas.addEventListener("pointerdown", (e) => { fingers.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); set("spin", false); });
  const lift = (e) => fingers.delete(e.pointerId);
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointermove", (e) => {
    const before = fingers.get(e.pointerId);
    if (!before) return;
    const others = [...fingers.entries()].filter(([id]) => id !== e.pointerId);
    if (others.length) {  // two fingers: zoom
      const other = others[0][1], apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      zoom(apart([e.clientX, e.clientY]) / Math.max(1, apart(before)));
    } else {
      rotate((e.clientY - before[1]) * 0.008, (e.clientX - before[0]) * 0.008);
    }
    fingers.set(e.pointerId, [e.clientX, e.clientY]);
    draw();
  });
  const zoom = (by) => { state.zoom = Math.min(8, Math.max(0.4, state.zoom * by)); draw(); };
  canvas.addEventListener("wheel", (e) => {  // the plain wheel scrolls the page
    if (!e.ctrlKey && !e.metaKey && !e.altKey) return;
    e.preventDefault();
    zoom(Math.exp(-e.deltaY * 0.002));
  }, { passive: false });
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", view.querySelector("svg").getAttribute("aria-label") + " Arrow keys turn it, plus and minus zoom.");
  canvas.addEventListener("keydown", (e) => {
    const keys = { ArrowLeft: [0, -0.12], ArrowRight: [0, 0.12], ArrowUp: [-0.12, 0], ArrowDown: [0.12, 0] };
    if (keys[e.key]) { set("spin", false); rotate(...keys[e.key]); draw(); e.preventDefault(); }
    if (e.key === "+" || e.key === "=") zoom(1.15);
    if (e.key === "-") zoom(1 / 1.15);
  });
  const buttons = document.querySelectorAll(".controls button");
  const set = (name, value) => {
    state[name] = value;
    for (const b of buttons) if (b.dataset.show === name) b.setAttribute("aria-pressed", String(value));
    draw();
  };
  for (const b of buttons) {
    const name = b.dataset.show;
    if (name === "truth" && !hasTruth) { b.hidden = true; continue; }
    if (name.startsWith("zoom")) b.addEventListener("click", () => zoom(name === "zoom-in" ? 1.25 : 0.8));
    else { b.addEventListener("click", () => set(name, !state[name])); set(name, state[name]); }
  }
  const pick = document.getElementById("pick");
  document.addEventListener("pickresidue", (e) => {
    state.picked = e.detail;
    const r = residues[e.detail];
    pick.textContent = r ? `${r.name} ${r.number}, chain ${data.chains[r.chain][0]}` : "";
    draw();
  });
  document.addEventListener("themechange", theme);
  new ResizeObserver(draw).observe(canvas);
  new IntersectionObserver((seen) => { visible = seen[0].isIntersecting; draw(); }).observe(canvas);
  canvas.addEventListener("webglcontextlost", () => { view.classList.remove("live"); canvas.remove(); });
  view.append(canvas);
  view.classList.add("live");
  theme();
})();
)js";

}  // namespace megafold
