// The same image through a second model, or another version of the first.

import { post } from "./api.js";
import { el, setStyle } from "./dom.js";
import { Latest } from "./latest.js";
import { answers } from "./models.js";
import { taskOf } from "./results.js";
import { count, ms, percent } from "./text.js";

const ROWS = 10;
const work = new Latest();

export async function showComparison(body, playground) {
  const { image, model } = playground.current();
  const others = playground.choice.models.filter((each) => answers(each) && each.card.task === model.card.task && !(each.name === model.name && each.version === model.version));
  if (!others.length || !taskOf(model.card.task).shares) {
    body.replaceChildren(el("p", { class: "lead quiet" }, "The service has no other model or version that this page can compare with this one."));
    return;
  }
  const nameOf = (each) => `${each.card.title}, version ${each.version}`;
  const select = el("select", {}, ...others.map((each, index) => el("option", { value: index }, nameOf(each))));
  const table = el("div", { class: "detail", "aria-live": "polite" });
  const compare = async () => {
    try {
      const pair = [model, others[select.value]];
      const results = await work.run((signal) => Promise.all(pair.map((each) => answerOf(each, image, playground.options, signal))));
      if (results) table.replaceChildren(tableOf(pair, results, nameOf));
    } catch (error) {
      table.replaceChildren(el("p", { role: "alert" }, error.message));
    }
  };
  select.addEventListener("change", compare);
  body.replaceChildren(el("label", { class: "model own-label" }, el("span", {}, "Compare with"), select), table);
  await compare();
}

async function answerOf({ name, version, card }, image, options, signal) {
  const task = taskOf(card.task);
  const { answer, timing } = await post(`v1/${card.task}`, image.blob, { model: name, version, ...task.query(options) }, signal);
  const shares = new Map();
  for (const [label, share] of task.shares(answer.results[0])) {
    const { most = 0, times = 0 } = shares.get(label) ?? {};
    shares.set(label, { most: Math.max(most, share), times: times + 1 });
  }
  return { shares, timing, labels: new Set(card.labels) };
}

function tableOf(pair, answers, nameOf) {
  const labels = [...new Set(answers.flatMap(({ shares }) => [...shares.keys()]))];
  const most = (label) => Math.max(...answers.map(({ shares }) => shares.get(label)?.most ?? 0));
  const rows = labels.sort((a, b) => most(b) - most(a)).slice(0, ROWS).map((label) => el("tr", {}, el("th", { scope: "row" }, label), ...answers.map((answer) => cellOf(answer, label))));
  const head = pair.map((each, index) =>
    el("th", { scope: "col" }, nameOf(each), el("span", { class: "quiet number" }, `${ms(answers[index].timing.total)}, ${count(each.card.cost.macs)} MACs`)),
  );
  return el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Two models side by side" }, el("table", { class: "figures pair-table" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Label"), ...head)), el("tbody", {}, ...rows)));
}

function cellOf({ shares, labels }, label) {
  const found = shares.get(label);
  if (!found) return el("td", { class: "quiet" }, labels.has(label) ? "less than the listed ones" : "does not know this label");
  const text = `${percent(found.most)}${found.times > 1 ? ` (${found.times} times)` : ""}`;
  return el("td", { class: "number" }, text, setStyle(el("span", { class: "bar" }), { "--share": found.most }));
}
