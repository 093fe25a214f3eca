// COCO's compressed run lengths (pycocotools' maskApi.c): six bits a character, column by column.

/** Return the lengths of the runs, of zeros and ones in turn, beginning with zeros. */
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
    // From the fourth run on, a run is written as its difference from the one two before.
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** Write `id` wherever the mask is one, into every `step`th row and column: (ceil(h/step), ceil(w/step)) ids. */
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
