"use strict";
// The part of the map that is visible: a square of the plane, which zooming and panning change.

const CLOSEST = 60; // times closer than the whole map

class View {
  /**
   * @param home {left, bottom, side}: the whole map.
   * @param places the test images' places on it, {a, b}; some may lie outside `home`, and can be reached by zooming out.
   */
  constructor(home, { a, b }) {
    const bound = (values, start) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [start, start + home.side]);
    const [[left, right], [bottom, top]] = [bound(a, home.left), bound(b, home.bottom)];
    const side = Math.max(right - left, top - bottom);
    this.outer = { left: (left + right - side) / 2, bottom: (bottom + top - side) / 2, side };
    this.home = { left: home.left, bottom: home.bottom, side: home.side };
    this.reset();
  }

  reset() {
    Object.assign(this, this.home);
  }

  get isWhole() {
    return ["left", "bottom", "side"].every((name) => this[name] === this.home[name]);
  }

  /** Where a place lies, as shares of the square from its left and its top. */
  share([a, b]) {
    return [(a - this.left) / this.side, 1 - (b - this.bottom) / this.side];
  }

  /** The place at these shares. */
  place([x, y]) {
    return [this.left + x * this.side, this.bottom + (1 - y) * this.side];
  }

  /** Come closer by a factor, about a place that stays where it is. Returns whether that was possible. */
  zoom(factor, [a, b]) {
    const before = this.side;
    const side = Math.max(this.home.side / CLOSEST, Math.min(this.outer.side, before / factor));
    this.#set(a - ((a - this.left) * side) / before, b - ((b - this.bottom) * side) / before, side);
    return this.side !== before;
  }

  /** Move the map by shares of the square, to the right and down. */
  pan(x, y) {
    this.#set(this.left - x * this.side, this.bottom + y * this.side, this.side);
  }

  /** Pan as far as it takes to see a place. */
  follow([a, b]) {
    const near = (low, value) => Math.max(value - this.side, Math.min(value, low));
    this.#set(near(this.left, a), near(this.bottom, b), this.side);
  }

  /** The nearest place that zooming out can show. */
  clamp([a, b]) {
    const { left, bottom, side } = this.outer, within = (low, value) => Math.max(low, Math.min(low + side, value));
    return [within(left, a), within(bottom, b)];
  }

  /** The nearest place within the whole map, or within what is visible if that is more. */
  within([a, b]) {
    const { home } = this;
    const clamp = (value, name) => Math.max(Math.min(this[name], home[name]), Math.min(Math.max(this[name] + this.side, home[name] + home.side), value));
    return [clamp(a, "left"), clamp(b, "bottom")];
  }

  #set(left, bottom, side) {
    const { outer } = this;
    this.side = side;
    this.left = Math.max(outer.left, Math.min(outer.left + outer.side - side, left));
    this.bottom = Math.max(outer.bottom, Math.min(outer.bottom + outer.side - side, bottom));
  }
}
