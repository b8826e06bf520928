/** From a stream's events to the whole answer, and back: `fold(stream)` equals the JSON answer. */
import { RUN_METADATA } from "./events.js";
/** Kinds whose payload becomes the field of the same name; a later one replaces an earlier one. */
const PARTS = [
    "sourceDocuments",
    "usedTools",
    "artifacts",
    "fileAnnotations",
    "agentReasoning",
    "agentFlowExecutedData",
    "action",
];
/** Takes the events of one stream and gives the answer so far. */
export class Fold {
    #answer = {};
    #text = [];
    #thinking = "";
    /** Takes the next event in. */
    add(event) {
        const answer = this.#answer;
        switch (event.event) {
            case "token":
                this.#text.push(event.data);
                break;
            case "thinking":
                this.#thinking += event.data;
                if (event.duration !== undefined)
                    answer.reasonContent = { thinking: this.#thinking, thinkingDuration: event.duration };
                break;
            case "metadata":
                Object.assign(answer, about(event.data));
                break;
            case "error":
                answer.error = event;
                break;
            case "abort":
                answer.aborted = true;
                if (event.usage)
                    answer.usage = event.usage;
                break;
            default:
                if (PARTS.includes(event.event))
                    Object.assign(answer, { [event.event]: event.data });
        }
    }
    /** The answer so far; its text is "" before the first token, and missing beside a value in place of text. */
    get prediction() {
        const text = this.#answer.json === undefined ? { text: this.#text.join("") } : {};
        return { ...text, ...this.#answer };
    }
}
/** What a record says of the run, and nothing else. */
function about(record) {
    const names = Object.keys(RUN_METADATA);
    return Object.fromEntries(names.flatMap((name) => (record[name] === undefined ? [] : [[name, record[name]]])));
}
/** The answer that a stream's events amount to. */
export function fold(events) {
    const answer = new Fold();
    for (const event of events)
        answer.add(event);
    return answer.prediction;
}
/** The shortest stream that folds to the answer. */
export function* unfold(answer) {
    const text = answer.json === undefined ? answer.text : JSON.stringify(answer.json);
    if (text)
        yield { event: "token", data: text };
    for (const part of PARTS) {
        if (answer[part] !== undefined)
            yield { event: part, data: answer[part] };
    }
    const { text: _, ...rest } = about(answer);
    yield { event: "metadata", data: rest };
    yield { event: "end", data: "[DONE]" };
}
