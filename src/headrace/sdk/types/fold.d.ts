/** From a stream's events to the whole answer, and back: `fold(stream)` equals the JSON answer. */
import { type HeadraceEvent, type Prediction } from "./events.js";
/** Takes the events of one stream and gives the answer so far. */
export declare class Fold {
    #private;
    /** Takes the next event in. */
    add(event: HeadraceEvent): void;
    /** The answer so far; its text is "" before the first token, and missing beside a value in place of text. */
    get prediction(): Prediction;
}
/** The answer that a stream's events amount to. */
export declare function fold(events: Iterable<HeadraceEvent>): Prediction;
/** The shortest stream that folds to the answer. */
export declare function unfold(answer: Prediction): Generator<HeadraceEvent, void>;
