// Words that the user gives to channels. They stay in this browser.

const NAME = "foveal-words";

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

const keyOf = (model) => `${model.name}/${model.version}`;

/** The words of a model: [[stage, channel, word], …], in the order of the stages. */
export function wordsOf(model) {
  return Object.entries(read()[keyOf(model)] ?? {})
    .map(([place, word]) => [...place.split("/"), word])
    .map(([stage, channel, word]) => [stage, Number(channel), word])
    .sort(([one, a], [other, b]) => one.localeCompare(other) || a - b);
}

export const wordOf = (model, stage, channel) => read()[keyOf(model)]?.[`${stage}/${channel}`] ?? "";

/** Keep a word; an empty one is forgotten. */
export function keepWord(model, stage, channel, word) {
  const all = read();
  const own = { ...all[keyOf(model)], [`${stage}/${channel}`]: word.trim() };
  if (!word.trim()) delete own[`${stage}/${channel}`];
  try {
    localStorage.setItem(NAME, JSON.stringify({ ...all, [keyOf(model)]: own }));
  } catch {
    // The browser allows no storage: the word is lost when the page is left.
  }
}
