"use strict";
// A place in latent space as a part of the page's address: `#z=1.2,-0.4`, with `&y=3` for class 3 of a conditional model.

/** The place that the address names, {z, y}; `null` if it names none, or none that this model has. */
function readLink({ latents, conditional, classes, reach }) {
  const values = new URLSearchParams(location.hash.slice(1));
  const z = (values.get("z") ?? "").split(",").map((part) => (part.trim() ? Number(part) : NaN));
  const y = conditional && values.has("y") ? Number(values.get("y") || NaN) : undefined;
  if (z.length !== latents || !z.every(Number.isFinite)) return null;
  if (y !== undefined && !(Number.isInteger(y) && y >= 0 && y < classes.length)) return null;
  const limit = 2 * reach; // twice as far out as any test image or draw from the prior
  return { z: z.map((value) => Math.max(-limit, Math.min(limit, value))), y };
}

/** Make the address name the point, without a new entry in the browser's history. */
function writeLink({ conditional }, { z, y }) {
  const values = Array.from(z, (value) => Number(value.toFixed(3)) || 0).join();
  try {
    history.replaceState(null, "", `#z=${values}${conditional ? `&y=${y}` : ""}`);
  } catch { /* a browser allows only so many a minute, and an embedded page none at all */ }
}

/**
 * Keep the address and the point together.
 * @param model the explorer's part of the report's data.
 * @param point its place is written when it rests, except for the one that the page begins with.
 * @param open called with a place that was linked to.
 */
function addLinks(model, point, open) {
  let isFirst = true;
  const follow = () => {
    const place = readLink(model);
    if (!place) return;
    open(place);
    byId(byId("plane").hidden ? "explore" : "plane").scrollIntoView();
  };
  point.whenAtRest.push(() => {
    if (!isFirst) writeLink(model, point);
    isFirst = false;
  });
  window.addEventListener("hashchange", follow);
  follow();
  byId("link").addEventListener("click", async () => {
    writeLink(model, point);
    try {
      await navigator.clipboard.writeText(location.href);
      byId("link").textContent = "Copied";
    } catch { // a page opened from a disk may not be allowed to use the clipboard
      byId("link").textContent = "In the address";
    }
    setTimeout(() => { byId("link").textContent = "Copy link"; }, 1600);
  });
}
