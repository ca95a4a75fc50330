"use strict";
// Opens pictures large, and copies the command where a page has one.

const viewer = byId("viewer");
for (const button of document.querySelectorAll(".picture")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    viewer.querySelector("img").src = image.src;
    viewer.querySelector("img").alt = image.alt;
    viewer.showModal();
  });
}
viewer.addEventListener("click", () => viewer.close());

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
