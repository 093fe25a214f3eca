// Every way an image comes in: dropped, pasted, chosen, photographed, or one of the samples.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";

const SAMPLES = [
  { file: "cat.jpg", name: "A cat" },
  { file: "cup.jpg", name: "A cup of coffee" },
  { file: "digits.jpg", name: "Handwritten digits over a photograph" },
];

/** Call `taken({blob, name, alt, path})` with each file that comes in; `path` is where a sample lies on this service. */
export function takeImages(taken, failed) {
  const takeFile = (file) => {
    if (!file) return;
    press(null);
    taken({ blob: file, name: file.name || "image", alt: "Your image" });
  };

  for (const id of ["choose", "photograph"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      takeFile(input.files[0]);
      input.value = "";
    });
  }

  const mat = byId("mat");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mat.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mat.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mat.classList.remove("over");
    takeFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));

  const buttons = SAMPLES.map(({ file, name }) => {
    const path = `playground/samples/${file}`;
    const button = el("button", { class: "sample", type: "button", "aria-pressed": "false", title: name });
    button.append(el("img", { src: path, alt: name, width: 72, height: 52 }));
    button.addEventListener("click", async () => {
      press(button);
      try {
        const blob = await (await ask(path)).blob();
        if (button.getAttribute("aria-pressed") === "true") taken({ blob, name: file, alt: name, path });
      } catch (error) {
        failed(error);
      }
    });
    return button;
  });
  byId("samples").append(...buttons);

  function press(button) {
    for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
  }
}
