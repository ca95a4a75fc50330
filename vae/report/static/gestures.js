"use strict";
// Mouse, touch, wheel and keys on the map.

const SLOP = 6; // pixels that a pointer may stray in a click or tap
const TWICE = 350; // milliseconds within which two taps are one gesture
const STEP = 1 / 80; // of the visible part, for an arrow key; with Shift five of them
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const apartBy = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);

/**
 * Let a map be moved over, zoomed and panned.
 *
 * A finger that moves up or down scrolls the page, as the canvas's `touch-action` says. So does the wheel, unless a key
 * is held that zooms elsewhere too, or the map has been clicked since the pointer came.
 *
 * @param map a LatentMap.
 * @param hands what gestures do: hover(place), leave(), slide(place), click(place), tap(place), walk(direction), pin().
 */
function addGestures(map, hands) {
  const { canvas, view } = map;
  const pointers = new Map();
  let isEngaged = false, lastTap = { at: -Infinity };

  const shares = ({ x, y }) => [x / canvas.clientWidth, y / canvas.clientHeight];
  const position = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left - canvas.clientLeft, y: event.clientY - box.top - canvas.clientTop };
  };

  function zoom(factor, place) {
    const isDone = view.zoom(factor, place);
    if (isDone) map.redraw();
    return isDone;
  }

  function pan(from, to) {
    view.pan(...shares({ x: to.x - from.x, y: to.y - from.y }));
    map.redraw();
  }

  /** Two fingers: what lay under each stays there, as far as zooming and panning can. */
  function pinch(pointer, to) {
    const other = [...pointers.values()].find((each) => each !== pointer);
    const middle = (end) => ({ x: (end.x + other.x) / 2, y: (end.y + other.y) / 2 });
    zoom(apartBy(to, other) / Math.max(1, apartBy(pointer, other)), view.place(shares(middle(pointer))));
    pan(middle(pointer), middle(to));
  }

  function drag(pointer, event, to) {
    const [across, down] = [to.x - pointer.start.x, to.y - pointer.start.y];
    const isFinger = event.pointerType !== "mouse";
    if (pointer.does === "nothing" && Math.hypot(across, down) > SLOP) {
      if (!isFinger) pointer.does = view.isWhole ? "hover" : "pan";
      else if (Math.abs(across) > Math.abs(down)) pointer.does = "slide";
    }
    if (pointer.does === "hover") hands.hover(map.under(event));
    if (pointer.does === "slide") hands.slide(map.under(event));
    if (pointer.does === "pan") pan(pointer, to);
    canvas.classList.toggle("panning", pointer.does === "pan");
  }

  function tap(event, to) {
    const isSecond = event.timeStamp - lastTap.at < TWICE && apartBy(to, lastTap) < 30;
    lastTap = { at: isSecond ? -Infinity : event.timeStamp, ...to };
    if (isSecond) zoom(2, map.under(event));
    else hands.tap(map.under(event), apartBy(to, map.pointAt()) < 20);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const at = position(event);
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { ...at, start: at, does: "nothing" });
    if (pointers.size > 1) for (const pointer of pointers.values()) pointer.does = "pinch";
  });
  canvas.addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId), to = position(event);
    if (!pointer) {
      if (!event.buttons) hands.hover(map.under(event));
      return;
    }
    if (pointer.does === "pinch") {
      if (pointers.size === 2) pinch(pointer, to);
    } else drag(pointer, event, to);
    Object.assign(pointer, to);
  });
  canvas.addEventListener("pointerup", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (pointer?.does !== "nothing") return;
    if (event.pointerType === "mouse") hands.click(map.under(event));
    else tap(event, position(event));
    isEngaged = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      canvas.classList.remove("panning");
    });
  }
  canvas.addEventListener("pointerleave", () => {
    isEngaged = false;
    hands.leave();
  });

  canvas.addEventListener("wheel", (event) => {
    const isMeant = event.ctrlKey || event.metaKey || isEngaged;
    const unit = [1, 25, 500][event.deltaMode] * (event.ctrlKey ? 0.01 : 0.002); // a pinched trackpad sends small ones with Ctrl
    const power = Math.max(-0.5, Math.min(0.5, -event.deltaY * unit));
    const isDone = isMeant && zoom(2 ** power, map.under(event));
    if (isDone || event.ctrlKey || event.metaKey) event.preventDefault(); // which else zooms the whole page
  }, { passive: false });

  const keys = {
    "+": () => zoom(1.5, map.middle()),
    "=": () => zoom(1.5, map.middle()),
    "-": () => zoom(1 / 1.5, map.middle()),
    0: () => map.reset(),
    Enter: () => hands.pin(),
    " ": () => hands.pin(),
  };
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(arrow || keys[event.key])) return;
    event.preventDefault();
    if (arrow) hands.walk(arrow.map((sign) => sign * STEP * view.side * (event.shiftKey ? 5 : 1)));
    else keys[event.key]();
  });
  byId("closer").addEventListener("click", () => zoom(1.5, map.middle()));
  byId("further").addEventListener("click", () => zoom(1 / 1.5, map.middle()));
  byId("whole").addEventListener("click", () => map.reset());
}
