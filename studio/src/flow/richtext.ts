/** Texts of the older builder's editor, which are markup, as plain text. Nothing of them ever becomes part of the page. */

const BLOCK = /<\/(?:p|div|h[1-6]|li|blockquote|pre)>|<br\s*\/?>/gi;
const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'", nbsp: " " };

export const isMarkup = (text: string): boolean => /^\s*<(?:p|h[1-6]|ul|ol|div|blockquote|pre)[\s>]/i.test(text);

/** The text without its tags: a line for each block, and variables in their braces. */
export function plainText(markup: string): string {
  const text = markup
    .replace(BLOCK, "\n")
    .replace(/<li[^>]*>/gi, "- ")
    .replace(/<\/?[a-z][^>]*>/gi, "");
  return text
    .replace(/&(#?)(\w+);/g, (whole, number, name) => (number ? character(name) : NAMED[name]) ?? whole)
    .trimEnd();
}

function character(digits: string): string | undefined {
  const code = digits.startsWith("x") ? Number.parseInt(digits.slice(1), 16) : Number(digits);
  return code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
}
