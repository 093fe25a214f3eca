// Every way to give an image or a video: drop, paste, choose a file, take a photo, or use a sample.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";

const SAMPLES = [
  { file: "cat.jpg", name: "A cat" },
  { file: "cup.jpg", name: "A cup of coffee" },
  { file: "digits.jpg", name: "Handwritten digits over a photograph" },
];

/** Call `onFile({blob, name, alt, path})` with each file; only a sample has a `path`, its URL on this service. */
export function listenForFiles(onFile, onError) {
  const openFile = (file) => {
    if (!file) return;
    press(null);
    onFile({ blob: file, name: file.name || "image", alt: "Your image" });
  };

  for (const id of ["choose", "photo"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      openFile(input.files[0]);
      input.value = "";
    });
  }

  const mat = byId("mat");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mat.classList.add("dragover");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mat.classList.remove("dragover");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mat.classList.remove("dragover");
    openFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => openFile(event.clipboardData.files[0]));

  const buttons = SAMPLES.map(({ file, name }) => {
    const path = `playground/samples/${file}`;
    const button = el("button", { class: "sample", type: "button", "aria-pressed": "false", title: name });
    button.append(el("img", { src: path, alt: name, width: 72, height: 52 }));
    button.addEventListener("click", async () => {
      press(button);
      try {
        const blob = await (await ask(path)).blob();
        if (button.getAttribute("aria-pressed") === "true") onFile({ blob, name: file, alt: name, path });
      } catch (error) {
        onError(error);
      }
    });
    return button;
  });
  byId("samples").append(...buttons);

  function press(button) {
    for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
  }
}
