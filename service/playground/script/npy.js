// Arrays of NumPy's file format, as the service sends them.

const TYPES = { "|u1": Uint8Array, "<f4": Float32Array };
/** The magic bytes, the version, and two bytes for the length of the header. */
const BEFORE_HEADER = 10;

/** Return `{data, shape}`: a typed array in C order, and its dimensions. */
export function parseNpy(buffer) {
  const length = new DataView(buffer).getUint16(BEFORE_HEADER - 2, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, BEFORE_HEADER, length));
  const [, type] = header.match(/'descr': '([^']+)'/);
  const [, sides] = header.match(/'shape': \(([^)]*)\)/);
  const shape = sides.split(",").filter((side) => side.trim()).map(Number);
  return { data: new TYPES[type](buffer.slice(BEFORE_HEADER + length)), shape };
}

/** The same from a `data:` URL in the service's JSON. */
export function npyOfUrl(url) {
  const bytes = atob(url.slice(url.indexOf(",") + 1));
  return parseNpy(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)).buffer);
}
