/** Cuts code into pieces to colour: comments, strings, numbers and words of JavaScript, JSON, Python and SQL. */

export interface Piece {
  text: string;
  kind?: "comment" | "string" | "number" | "word" | "variable";
}

const WORDS =
  "async|await|break|case|catch|class|const|continue|def|default|delete|do|elif|else|export|extends|False|finally|for|from|" +
  "function|if|import|in|instanceof|let|new|None|null|of|return|switch|throw|True|true|false|try|typeof|undefined|var|while|yield|" +
  "SELECT|FROM|WHERE|INSERT|UPDATE|DELETE|CREATE|TABLE|JOIN|LEFT|ORDER|GROUP|BY|LIMIT|VALUES|INTO";
const PATTERN = new RegExp(
  [
    "(?<comment>\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$))",
    "(?<variable>\\{\\{[^{}\\n]*\\}\\}|\\$[A-Za-z_][\\w.]*)",
    "(?<string>\"(?:\\\\.|[^\"\\\\\\n])*\"?|'(?:\\\\.|[^'\\\\\\n])*'?|`(?:\\\\.|[^`\\\\])*`?)",
    "(?<number>\\b\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?\\b)",
    `(?<word>\\b(?:${WORDS})\\b)`,
  ].join("|"),
  "g",
);
const MOST = 40_000; // characters; longer texts stay plain

export function pieces(text: string): Piece[] {
  if (text.length > MOST) return [{ text }];
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(PATTERN)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    const [kind] = Object.entries(match.groups ?? {}).find(([, said]) => said !== undefined) ?? [];
    found.push({ text: match[0], kind: kind as Piece["kind"] });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}
