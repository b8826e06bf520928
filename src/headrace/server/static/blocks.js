/** Cuts Markdown into blocks: what each is, its text, and where it begins. */

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:\s+(.*)|)$/;
const DIVIDER = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

/** The blocks of a text, in order. Each begins at `at`; what is there is certain once the line at `sure` is whole. */
export function blocksOf(text) {
  const lines = text.split("\n");
  const blocks = [];
  let offset = 0;
  let row = 0;
  while (row < lines.length) {
    if (lines[row].trim()) {
      const [block, next] = blockAt(lines, row);
      block.at = block.sure = offset;
      if (block.kind === "table") block.sure += lines[row].length + 1; // only its second line makes it one
      blocks.push(block);
      while (row < next) offset += lines[row++].length + 1;
    } else offset += lines[row++].length + 1;
  }
  return blocks;
}

function blockAt(lines, row) {
  const line = lines[row];
  if (FENCE.test(line)) return fence(lines, row);
  const heading = HEADING.exec(line);
  if (heading)
    return [{ kind: "heading", level: heading[1].length, text: heading[2].trimEnd().replace(/ #+$/, "") }, row + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, row + 1];
  if (/^ {0,3}>/.test(line)) return quote(lines, row);
  if (ITEM.test(line)) return list(lines, row);
  if (isTable(lines, row)) return table(lines, row);
  return paragraph(lines, row);
}

const begins = (lines, row) =>
  FENCE.test(lines[row]) ||
  HEADING.test(lines[row]) ||
  RULE.test(lines[row]) ||
  /^ {0,3}>/.test(lines[row]) ||
  isTable(lines, row);

function fence(lines, row) {
  const [, mark, language] = FENCE.exec(lines[row]);
  const close = new RegExp(`^ {0,3}[${mark[0]}]{${mark.length},}\\s*$`);
  let end = row + 1;
  while (end < lines.length && !close.test(lines[end])) end++;
  const open = end >= lines.length;
  return [{ kind: "code", language, open, text: lines.slice(row + 1, end).join("\n") }, open ? end : end + 1];
}

function quote(lines, row) {
  let end = row;
  while (end < lines.length && /^ {0,3}>/.test(lines[end])) end++;
  return [
    {
      kind: "quote",
      text: lines
        .slice(row, end)
        .map((line) => line.replace(/^ {0,3}> ?/, ""))
        .join("\n"),
    },
    end,
  ];
}

const isTable = (lines, row) =>
  lines[row].includes("|") &&
  row + 1 < lines.length &&
  lines[row + 1].includes("-") &&
  lines[row + 1].length < 1000 &&
  DIVIDER.test(lines[row + 1]) &&
  cells(lines[row]).length === cells(lines[row + 1]).length;

function cells(line) {
  return line
    .trim()
    .replace(/^\||(?<!\\)\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function table(lines, row) {
  const sides = cells(lines[row + 1]).map((mark) =>
    mark.endsWith(":") ? (mark.startsWith(":") ? "middle" : "right") : "left",
  );
  let end = row + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) end++;
  return [{ kind: "table", sides, head: cells(lines[row]), rows: lines.slice(row + 2, end).map(cells) }, end];
}

function paragraph(lines, row) {
  let end = row + 1;
  while (
    end < lines.length &&
    lines[end].trim() &&
    !begins(lines, end) &&
    !/^ {0,3}(?:[-*+]|1[.)])\s+\S/.test(lines[end])
  )
    end++;
  return [
    {
      kind: "paragraph",
      text: lines
        .slice(row, end)
        .map((line) => line.replace(/^\s+/, ""))
        .join("\n")
        .trimEnd(),
    },
    end,
  ];
}

function list(lines, row) {
  const [, , marker] = ITEM.exec(lines[row]);
  const ordered = /\d/.test(marker);
  const items = [];
  let width = 0;
  let end = row;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (item && /\d/.test(item[2]) === ordered && !RULE.test(lines[end]) && (!items.length || item[1].length < width)) {
      width = item[1].length + item[2].length + 1;
      items.push([item[3] ?? ""]);
    } else if (!lines[end].trim()) {
      let after = end + 1;
      while (after < lines.length && !lines[after].trim()) after++;
      if (after === lines.length || !(indented(lines[after], width) || sameKind(lines[after], ordered))) break;
      items.at(-1).push(...lines.slice(end, after).fill(""));
      end = after - 1;
    } else if (indented(lines[end], width))
      items.at(-1).push(lines[end].slice(Math.min(width, lines[end].search(/\S/))));
    else if (item || begins(lines, end) || items.at(-1).at(-1) === "") break;
    else items.at(-1).push(lines[end].trimStart());
    end++;
  }
  return [
    {
      kind: "list",
      ordered,
      start: Number.parseInt(marker, 10) || 1,
      items: items.map((item) => item.join("\n").trimEnd()),
    },
    end,
  ];
}

const indented = (line, width) => line.search(/\S/) >= Math.min(width, 2);
const sameKind = (line, ordered) => ITEM.test(line) && /\d/.test(ITEM.exec(line)[2]) === ordered && !RULE.test(line);
