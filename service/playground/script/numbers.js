// Numbers as text, for tables and sums.

const MINUS = "\u2212";

/** A number as it is, with a minus sign that is as wide as a digit. */
export const minus = (value) => String(value).replace("-", MINUS);

/** 1.234 → "1.23", -0.001 → "0.00", with a minus sign that is as wide as a digit. */
export function fixed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** With a sign before every number. */
export const signed = (value, digits = 2) => {
  const text = fixed(value, digits);
  return text.startsWith(MINUS) ? text : `+${text}`;
};

/** Numbers that are the same but for the rounding of 32-bit floats; `size` is that of the numbers that were added. */
export const agree = (one, other, size = 1) => Math.abs(one - other) <= 1e-4 * (1 + Math.abs(size));
