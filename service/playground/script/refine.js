// A heat map in stages: a first look at once, then finer ones. Each stage ends before its own deadline.

import { Problem } from "./api.js";
import { taskOf } from "./results.js";
import { ms } from "./text.js";

/** Most places that the service covers where the request does not name a number; more stages would show the same. */
const MOST_PLACES = 144;
/** A stage that was too slow, or not let in, is no reason to give up: the next one has more time. */
const PASSING = new Set(["deadline_exceeded", "overloaded"]);
const COARSE_MS = 6_000;
const FINE_MS = 20_000;

/** The stages for a model: {view, query, timeoutMs}. A card without stages has no maps for a first look. */
function stagesOf(card) {
  const maps = card.stages.length > 0;
  if (taskOf(card.task).cheapHeat && maps) return [{ view: "cam", query: {} }];
  const look = { view: "cam", query: { method: "eigencam" }, timeoutMs: COARSE_MS };
  const covered = (timeoutMs) => ({ view: "occlusion", query: {}, timeoutMs });
  return [...(maps ? [look] : []), covered(COARSE_MS), covered(FINE_MS)];
}

/**
 * Yield `{answer, timing, last}` for each heat map that is better than the one before; `last` says that none follows.
 * `explain(view, query, timeoutMs)` requests one.
 *
 * Throws the problem of the last stage if no stage has an answer.
 */
export async function* heatStages(card, target, explain) {
  const stages = stagesOf(card);
  let shown = false;
  for (const [place, { view, query, timeoutMs }] of stages.entries()) {
    const isLast = place === stages.length - 1;
    try {
      const { answer, timing } = await explain(view, { ...target, ...query, score: false }, timeoutMs);
      const last = isLast || answer.samples >= MOST_PLACES;
      // `detail`: the copies were too few to show the heat well. The first look shows more than that.
      if (!shown || !answer.detail) yield { answer, timing, last };
      shown = true;
      if (last) return;
    } catch (error) {
      const passing = error instanceof Problem && PASSING.has(error.code);
      if (!passing || (isLast && !shown)) throw error;
    }
  }
}

const FOLLOWS = "A finer map follows …";
/** What becomes of a note when the stages after it have failed: [its text, what replaces it]. */
export const LATE = [FOLLOWS, "There was no time for a finer map."];

const METHODS = {
  cam: () => "Method: exact class activation map.",
  eigencam: () => "Method: EigenCAM, which shows what stands out, for any class.",
  rise: () => "Method: RISE, which hides random parts of the image.",
  occlusion: ({ samples }) => `Method: occlusion, which covers ${samples} places one by one.`,
};

/** The line under the result for a stage of the heat map of `name`. */
export function noteOf({ answer, timing, last }, name) {
  const what = answer.method === "eigencam" ? "Hot pixels stand out to the network" : `Hot pixels support ${name}`;
  return `${what}. ${METHODS[answer.method]?.(answer) ?? ""} ${last ? `${ms(timing.total)}.` : FOLLOWS}`;
}
