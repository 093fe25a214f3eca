// Small tables of numbers, each cell colored by its sign and its size.

import { el, setStyle } from "./dom.js";
import { fixed } from "./numbers.js";

/** Larger tables show colors only: their numbers would not fit. */
const MOST_COLUMNS_WITH_NUMBERS = 7;

/** Tables with more columns have narrower ones. */
const NARROW_COLUMNS = 3;

export class NumberGrid {
  constructor(caption, height, width) {
    const numbers = width <= MOST_COLUMNS_WITH_NUMBERS;
    this.cells = Array.from({ length: height }, () => Array.from({ length: width }, () => el("td", { class: "number" })));
    this.node = el(
      "table",
      { class: numbers ? (width > NARROW_COLUMNS ? "grid wide" : "grid") : "grid dense" },
      el("caption", {}, caption),
      el("tbody", {}, ...this.cells.map((row) => el("tr", {}, ...row))),
    );
  }

  /** Show values [row][column]; `largest` is what has the strongest color, null a cell outside of the image. */
  show(values, largest) {
    values.forEach((row, y) =>
      row.forEach((value, x) => {
        const cell = this.cells[y][x];
        cell.textContent = value === null ? "" : fixed(value);
        cell.classList.toggle("minus", value < 0);
        setStyle(cell, { "--share": largest && value !== null ? Math.min(1, Math.abs(value) / largest).toFixed(3) : 0 });
      }),
    );
  }

  mark(row, column) {
    this.cells.forEach((line, y) => line.forEach((cell, x) => cell.classList.toggle("own", y === row && x === column)));
  }
}

export const largestOf = (grids) => grids.flat(2).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
