// Where the labels of boxes go: inside the image, and never over each other.

/** Pixels between a label, which has a thin line around it, and the image's edge. */
const MARGIN = 2;

/**
 * Return `{left, top, crowded}` for each label, in pixels of a layer of `size`. The first label chooses first. A label
 * that finds no free place is `crowded`: it lies over others, and is for showing alone. `labels` are
 * `{width, height, box}` with `box` as `{left, top, right, bottom}`.
 */
export function placeLabels(labels, size) {
  const taken = [];
  return labels.map(({ width, height, box }) => {
    const clamped = ([left, top]) => ({
      left: Math.max(MARGIN, Math.min(left, size.width - MARGIN - width)),
      top: Math.max(MARGIN, Math.min(top, size.height - MARGIN - height)),
    });
    const areas = placesOf(box, width, height).map(clamped);
    const free = areas.find(({ left, top }) => !taken.some((other) => overlap(other, { left, top, width, height })));
    if (!free) return { ...areas[0], crowded: true };
    taken.push({ ...free, width, height });
    return { ...free, crowded: false };
  });
}

/** Above the box, inside its top, inside its bottom, below it; each at the left and then at the right. */
function placesOf({ left, top, right, bottom }, width, height) {
  const rows = [top - height, top, bottom - height, bottom];
  return rows.flatMap((row) => [[left, row], [right - width, row]]);
}

const overlap = (a, b) =>
  a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
