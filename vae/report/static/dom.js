"use strict";
// What every page's scripts begin with: its elements and its data.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

/** A new element with these properties, and children or text within. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
