"use strict";
// Puts the card that explains a term beside it, opens pictures large, and copies the command where a page has one.

let pressed = null; // the term that was pressed last
document.addEventListener("click", (event) => {
  pressed = event.target.closest(".term") ?? pressed;
}, true);
for (const card of document.querySelectorAll(".card")) {
  card.addEventListener("toggle", (event) => {
    if (event.newState !== "open" || !pressed) return;
    const at = pressed.getBoundingClientRect(), [width, height] = [card.offsetWidth, card.offsetHeight];
    const isAbove = at.bottom + height + 16 > window.innerHeight && at.top > height + 16;
    const left = Math.max(16, Math.min(at.left, document.documentElement.clientWidth - width - 16));
    card.style.left = `${window.scrollX + left}px`;
    card.style.top = `${window.scrollY + (isAbove ? at.top - height - 8 : at.bottom + 8)}px`;
  });
}

const viewer = byId("viewer");
for (const button of document.querySelectorAll(".picture")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    viewer.querySelector("img").src = image.src;
    viewer.querySelector("img").alt = image.alt;
    viewer.showModal();
  });
}
viewer?.addEventListener("click", () => viewer.close());

byId("copy")?.addEventListener("click", async () => {
  const command = byId("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    byId("copy").textContent = "Copied";
  } catch { // a page opened from a disk may not be allowed to use the clipboard
    window.getSelection().selectAllChildren(command);
    byId("copy").textContent = "Selected";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1600);
});
