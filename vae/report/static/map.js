"use strict";
// The map of two latents: the test images' posterior means, coloured by class, and a point to move.

const NAME = 18; // letters of a class's name on the map

/**
 * Draw the map on a canvas and let pointer, touch and arrow keys move over it.
 *
 * @param canvas where to draw.
 * @param model the explorer's part of the report's data.
 * @param move called with [z1, z2].
 * @returns draw(z, ends): mark z and the line between two ends; nearest(z): the class of the closest test image, or -1;
 *     only(label): show one class, or all of them with -1.
 */
function makeMap(canvas, model, move) {
  const { left, bottom, side } = model.map;
  const points = unpack(model.map.points), labels = unpack(model.map.labels);
  const order = shuffled(labels.length); // so that no class lies on top of the others
  const labelled = model.classes.length > 0;
  const medians = model.classes.flatMap((name, label) => {
    const own = order.filter((n) => labels[n] === label);
    const middle = (axis) => own.map((n) => points[2 * n + axis]).sort()[own.length >> 1] / 65535;
    return own.length ? [{ name, label, place: [middle(0), 1 - middle(1)] }] : [];
  });
  let cloud = null, only = -1, last = [[0, 0], null];

  const size = () => canvas.clientWidth;
  const toX = (z1) => ((z1 - left) / side) * size();
  const toY = (z2) => (1 - (z2 - bottom) / side) * size();
  const css = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();

  function context(target) {
    const scale = window.devicePixelRatio || 1;
    target.width = target.height = Math.round(size() * scale);
    const pen = target.getContext("2d");
    pen.scale(scale, scale);
    return pen;
  }

  function drawGrid(pen) {
    pen.font = `11px ${css("--sans")}`;
    pen.lineWidth = 1;
    for (let value = Math.ceil(left); value <= left + side; value++) line(pen, value, toX(value), true);
    for (let value = Math.ceil(bottom); value <= bottom + side; value++) line(pen, value, toY(value), false);
  }

  function line(pen, value, at, upright) {
    pen.strokeStyle = css(value ? "--line" : "--faint");
    pen.globalAlpha = value ? 1 : 0.5;
    pen.beginPath();
    pen.moveTo(upright ? at : 0, upright ? 0 : at);
    pen.lineTo(upright ? at : size(), upright ? size() : at);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.fillStyle = css("--faint");
    const label = String(value).replace("-", "−");
    if (upright && at > 20 && at < size() - 12) pen.fillText(label, at + 3, size() - 5);
    if (!upright && at > 12 && at < size() - 20) pen.fillText(label, 4, at - 3);
  }

  function drawCloud() {
    cloud = document.createElement("canvas");
    const pen = context(cloud);
    drawGrid(pen);
    const colors = Array.from({ length: 10 }, (_, i) => css(`--class-${i}`));
    const radius = Math.max(1.5, Math.min(3.5, 120 / Math.sqrt(labels.length))) * Math.max(0.75, size() / 620);
    for (const n of order) {
      const faded = only >= 0 && labels[n] !== only;
      pen.fillStyle = labelled ? colors[labels[n] % 10] : css("--accent");
      pen.globalAlpha = faded ? 0.07 : 0.7;
      pen.beginPath();
      pen.arc((points[2 * n] / 65535) * size(), (1 - points[2 * n + 1] / 65535) * size(), radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (labelled && model.classes.length <= 20) nameClasses(pen);
  }

  /** Each class's name at the median of its points, with a halo to stand out from them, and off the other names. */
  function nameClasses(pen) {
    const height = Math.max(13, size() / 38);
    pen.font = `650 ${height}px ${css("--sans")}`;
    [pen.textAlign, pen.textBaseline, pen.lineJoin, pen.lineWidth] = ["center", "middle", "round", 4.5];
    [pen.strokeStyle, pen.fillStyle] = [css("--card"), css("--ink")];
    const visible = medians.filter(({ label }) => only < 0 || label === only);
    const names = visible.map(({ name: whole, place: [x, y] }) => {
      const name = whole.length > NAME ? `${whole.slice(0, NAME - 1).trimEnd()}…` : whole;
      return { name, x: x * size(), y: y * size(), width: pen.measureText(name).width + 5, height: height + 3 };
    });
    apart(names, size());
    for (const { name, x, y } of names) {
      pen.strokeText(name, x, y);
      pen.fillText(name, x, y);
    }
  }

  function draw(z, ends) {
    last = [z, ends];
    if (!size()) return;
    if (!cloud) drawCloud();
    const pen = context(canvas);
    pen.drawImage(cloud, 0, 0, size(), size());
    if (ends) drawPath(pen, ends);
    const [x, y] = [toX(z[0]), toY(z[1])];
    for (const [radius, width, color] of [[10, 5, "--paper"], [10, 2, "--ink"], [2.5, 0, "--ink"]]) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.lineWidth = width;
      pen.strokeStyle = pen.fillStyle = css(color);
      if (width) pen.stroke();
      else pen.fill();
    }
  }

  function drawPath(pen, [from, to]) {
    for (const [width, color] of [[4, "--paper"], [1.5, "--ink"]]) {
      pen.lineWidth = width;
      pen.strokeStyle = css(color);
      pen.setLineDash(color === "--ink" ? [5, 4] : []);
      pen.beginPath();
      pen.moveTo(toX(from[0]), toY(from[1]));
      pen.lineTo(toX(to[0]), toY(to[1]));
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  function nearest(z) {
    const at = [((z[0] - left) / side) * 65535, ((z[1] - bottom) / side) * 65535];
    let label = -1, least = Infinity;
    for (let n = 0; n < labels.length; n++) {
      const distance = (points[2 * n] - at[0]) ** 2 + (points[2 * n + 1] - at[1]) ** 2;
      if (distance < least) [label, least] = [labels[n], distance];
    }
    return labelled ? label : -1;
  }

  function redraw() {
    cloud = null;
    draw(...last);
  }

  function follow(event) {
    const box = canvas.getBoundingClientRect();
    const within = (value) => Math.max(0, Math.min(1, value));
    const x = within((event.clientX - box.left - canvas.clientLeft) / size());
    const y = within((event.clientY - box.top - canvas.clientTop) / size());
    move([left + x * side, bottom + (1 - y) * side]);
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const step = (side / 80) * (event.shiftKey ? 5 : 1);
    const within = (value, low) => Math.max(low, Math.min(low + side, value));
    move([within(last[0][0] + arrow[0] * step, left), within(last[0][1] + arrow[1] * step, bottom)]);
  });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    follow(event);
  });
  canvas.addEventListener("pointermove", follow);
  new ResizeObserver(redraw).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return { draw, nearest, only: (label) => { only = label; redraw(); } };
}

/** Push overlapping boxes apart along the shorter way, and all of them into a square of this side. */
function apart(boxes, side) {
  for (let round = 0; round < 60; round++) {
    boxes.forEach((a, i) => {
      for (const b of boxes.slice(i + 1)) {
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const across = (a.width + b.width) / 2 - Math.abs(dx), down = (a.height + b.height) / 2 - Math.abs(dy);
        if (across <= 0 || down <= 0) continue;
        const [axis, push] = across < down ? ["x", (Math.sign(dx) || 1) * across / 2] : ["y", (Math.sign(dy) || 1) * down / 2];
        a[axis] -= push;
        b[axis] += push;
      }
    });
    for (const box of boxes) {
      box.x = Math.max(box.width / 2, Math.min(side - box.width / 2, box.x));
      box.y = Math.max(box.height / 2, Math.min(side - box.height / 2, box.y));
    }
  }
}

/** 0 … count - 1, shuffled in the same way each time. */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
