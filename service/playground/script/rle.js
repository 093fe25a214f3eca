// COCO's compressed run lengths (pycocotools' maskApi.c): six bits per character, column by column.

/** Return the lengths of the runs; zeros and ones alternate, zeros come first. */
export function runLengths(counts) {
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let shift = 0;
    let code;
    do {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 0x1f) << shift;
      shift += 5;
    } while (code & 0x20);
    if (code & 0x10) value |= -1 << shift;
    // From the fourth run on, the encoded value is the difference from the run two places before.
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** Write `id` to `ids` where the mask is one. `ids` has every `step`th row and column: (ceil(h/step), ceil(w/step)). */
export function paintRuns({ size: [height], counts }, id, ids, step) {
  let pixel = 0;
  runLengths(counts).forEach((length, run) => {
    const end = pixel + length;
    while (run % 2 && pixel < end) {
      const column = Math.floor(pixel / height);
      const from = pixel - column * height;
      const to = Math.min(height, from + end - pixel);
      if (column % step === 0) {
        for (let row = Math.ceil(from / step) * step; row < to; row += step) {
          ids.data[(row / step) * ids.width + column / step] = id;
        }
      }
      pixel += to - from;
    }
    pixel = end;
  });
}
