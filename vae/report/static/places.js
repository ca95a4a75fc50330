"use strict";
// The test images' posterior means: their latents, their places on the map, and which of them is nearest.

class Places {
  constructor({ map, latents }) {
    const values = unpack(map.z);
    this.latents = latents;
    this.labels = unpack(map.labels);
    this.z = Float32Array.from(values, (value, i) => map.low[i % latents] + value * map.step[i % latents]);
    this.snaps = latents > 2; // a place in the plane is then many places in latent space: take that of an image
    this.only = -1; // the class that alone is looked at, -1 for all
    this.centre = map.centre;
    this.axes = map.axes;
    this.set(null);
  }

  /** The latents of image n. */
  of(n) {
    return this.z.subarray(n * this.latents, (n + 1) * this.latents);
  }

  /** Where latents lie on the map. */
  project(z) {
    let a = 0, b = 0;
    for (let d = 0; d < this.latents; d++) {
      const value = z[d] - this.centre[d];
      a += value * this.axes[0][d];
      b += value * this.axes[1][d];
    }
    return [a, b];
  }

  /** The shape of a diagonal Gaussian on the map: half axes, and the angle of the first. */
  spread(sigma) {
    const sum = (one, other) => sigma.reduce((total, value, d) => total + value * value * one[d] * other[d], 0);
    const [first, second] = this.axes;
    const [aa, ab, bb] = [sum(first, first), sum(first, second), sum(second, second)];
    const middle = (aa + bb) / 2, away = Math.hypot((aa - bb) / 2, ab);
    return { halves: [middle + away, middle - away].map((value) => Math.sqrt(Math.max(0, value))), angle: Math.atan2(2 * ab, aa - bb) / 2 };
  }

  /** Put the first images elsewhere on the map, (a, b) each, and leave out the others; `null` puts all of them back. */
  set(places) {
    this.count = places ? Math.min(this.labels.length, places.length / 2) : this.labels.length;
    [this.a, this.b] = [new Float32Array(this.count), new Float32Array(this.count)];
    for (let n = 0; n < this.count; n++) {
      [this.a[n], this.b[n]] = places ? [places[2 * n], places[2 * n + 1]] : this.project(this.of(n));
    }
  }

  /** Whether an image is of a class that is looked at. */
  has(n) {
    return this.only < 0 || this.labels[n] === this.only;
  }

  /** The image nearest to a place on the map. */
  nearestOnMap([a, b]) {
    let nearest = 0, least = Infinity;
    for (let n = 0; n < this.count; n++) {
      if (!this.has(n)) continue;
      const distance = (this.a[n] - a) ** 2 + (this.b[n] - b) ** 2;
      if (distance < least) [nearest, least] = [n, distance];
    }
    return nearest;
  }

  /** The image whose latents are nearest. */
  nearest(z) {
    if (!this.snaps) return this.nearestOnMap(z);
    let nearest = 0, least = Infinity;
    for (let n = 0; n < this.labels.length; n++) {
      if (!this.has(n)) continue;
      let distance = 0;
      for (let d = 0, at = n * this.latents; d < this.latents; d++, at++) distance += (this.z[at] - z[d]) ** 2;
      if (distance < least) [nearest, least] = [n, distance];
    }
    return nearest;
  }

  /** The latents that a place on the map stands for. */
  lift(place) {
    return this.snaps ? this.of(this.nearestOnMap(place)) : place;
  }

  /** From latents to those a step (da, db) further on the map: with many latents, the first other image that way. */
  walk(z, [da, db]) {
    const [a, b] = this.project(z);
    if (!this.snaps) return [a + da, b + db];
    for (let steps = 1; steps <= 160; steps++) {
      const n = this.nearestOnMap([a + steps * da, b + steps * db]);
      if ((this.a[n] - a) * da + (this.b[n] - b) * db > 1e-6 * (da * da + db * db)) return this.of(n);
    }
    return z;
  }
}
