"use strict";
// Everything is on the page without this: it only lets a reader choose what bars and curves show, and reads a mark's figures out.
document.documentElement.classList.add("scripted");
for (const section of document.querySelectorAll(".axes")) {
  const buttons = section.querySelectorAll("[data-show]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      section.dataset.axis = button.dataset.show;
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
    });
  }
}
for (const curve of document.querySelectorAll(".curve")) {
  const readout = curve.querySelector(".readout");
  for (const mark of curve.querySelectorAll(".mark")) {
    for (const event of ["pointerenter", "focus", "click"]) {
      mark.addEventListener(event, () => {
        for (const other of curve.querySelectorAll(".mark.chosen")) other.classList.remove("chosen");
        mark.classList.add("chosen");
        readout.textContent = mark.getAttribute("aria-label");
      });
    }
  }
}
