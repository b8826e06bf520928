/** The question of a flow that waits for a person: a field for words, and a button for each answer. */

import { button, el } from "./dom.js";

const KINDS = [
  ["approve", "proceed", "Proceed"],
  ["reject", "reject", "Reject"],
];

/** The form for an `action` of the flow. `answer` gets what is sent as `humanInput`, and the button's label. */
export function approval(action, answer) {
  const wanted = action.data?.input?.humanInputEnableFeedback !== false;
  const words = el("textarea", { rows: "2", "aria-label": "Feedback", placeholder: "Feedback, if you like" });
  const form = el(
    "div",
    { class: "approval", role: "group", "aria-label": "The flow waits for your answer" },
    wanted && words,
    el(
      "div",
      { class: "row" },
      KINDS.map(([name, type, label]) =>
        button(
          action.mapping?.[name] ?? label,
          (event) => {
            form.remove();
            const feedback = words.value.trim();
            answer({ type, startNodeId: action.data?.nodeId, ...(feedback && { feedback }) }, event.target.textContent);
          },
          { class: "chip" },
        ),
      ),
    ),
  );
  return form;
}
