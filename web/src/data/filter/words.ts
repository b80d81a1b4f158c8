// Text as Python and SQLite treat it, so that the page and the terminal UI find the same: white
// space, numbers, repr, case folding, LIKE, and difflib's closest word.

/** Characters that Python's str.split and \s take for white space; for a character class. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const RUN = new RegExp(`[${SPACE}]+`, "gu");
const ENDS = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");

/** " ".join(text.split()) */
export const spaced = (text: string): string => text.replace(RUN, " ").replace(/^ | $/g, "");
/** str.strip */
export const strip = (text: string): string => text.replace(ENDS, "");

/** Any script's decimal digits as 0 to 9. Unicode keeps them in runs of ten from zero on. */
export function digits(text: string): string {
  return text.replace(/[^\P{Nd}0-9]/gu, (digit) => {
    const code = digit.codePointAt(0)!;
    let run = 0;
    while (/\p{Nd}/u.test(String.fromCodePoint(code - run - 1))) run++;
    return String(run % 10);
  });
}

const RUN_OF_DIGITS = "\\d(?:_?\\d)*";
const FLOAT = new RegExp(
  `^[+-]?(?:(?:${RUN_OF_DIGITS}\\.?(?:${RUN_OF_DIGITS})?|\\.${RUN_OF_DIGITS})(?:e[+-]?${RUN_OF_DIGITS})?` +
    "|inf(?:inity)?|nan)$",
  "i",
);

/** Python's float(text), or null where it raises ValueError. */
export function float(text: string): number | null {
  const plain = digits(strip(text));
  if (!FLOAT.test(plain)) return null;
  const value = plain.replace(/_/g, "").toLowerCase();
  if (value.includes("nan")) return NaN;
  if (value.includes("inf")) return value.startsWith("-") ? -Infinity : Infinity;
  return Number(value);
}

const ESCAPES: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Python's repr of a text. */
export function repr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = "";
  for (const c of text) {
    if (c === quote) out += `\\${c}`;
    else if (ESCAPES[c]) out += ESCAPES[c];
    else if (c === " " || !/[\p{C}\p{Z}]/u.test(c)) out += c;
    else out += escaped(c.codePointAt(0)!);
  }
  return quote + out + quote;
}

function escaped(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** The sentence of petriscope.errors.UserError. */
export function sentence(what: string, remedy?: string): string {
  return spaced(remedy ? `${what.replace(/\.+$/, "")}. ${remedy}` : what);
}

/** Capital letters A to Z alone made small: what SQLite's LIKE and NOCASE do. */
export const small = (text: string): string => text.replace(/[A-Z]+/g, (part) => part.toLowerCase());

// Folded by SQLite's trigram index though they are small letters already (micro sign, long s, final
// sigma, ...). Letters that Unicode added after SQLite's table was made (Cherokee, Osage) are folded
// here and not there.
const ALREADY_SMALL = "\u00b5\u017f\u0345\u03c2\u03d0\u03d1\u03d5\u03d6\u03f0\u03f1\u03f5\u1e9b\u1fbe";
const AS = "\u03bcs\u03b9\u03c3\u03b2\u03b8\u03c6\u03c0\u03ba\u03c1\u03b5\u1e61\u03b9";
const FOLDED = new Map([...ALREADY_SMALL].map((c, i) => [c, AS[i]!]));
const ASCII = /^[\0-\x7f]*$/;

/** How SQLite's trigram index folds letters: one for one, accents kept. */
export function folded(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase();
  let out = "";
  for (const c of text) {
    const low = c.toLowerCase();
    out += FOLDED.get(c) ?? ([...low].length === 1 ? low : c);
  }
  return out;
}

/** Python's str.casefold. */
export function casefold(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase();
  let out = "";
  for (const c of text) {
    if (c === "\u0131")
      out += c; // has a capital, and is not folded to i
    else for (const large of c.toLowerCase().toUpperCase()) out += large.toLowerCase();
  }
  return out;
}

/** Compares by code points, as Python and SQLite's BINARY do (JavaScript's < goes by halves of
 * surrogate pairs). */
export function compare(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    let x = a.charCodeAt(i),
      y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above U+FFFF.
    if (x >= 0xd800 && x < 0xe000) x += 0x10000;
    if (y >= 0xd800 && y < 0xe000) y += 0x10000;
    return x - y;
  }
  return a.length - b.length;
}

/** Whether a text is LIKE '%text%' where * stands for anything; folds A to Z. */
export function liked(text: string): (value: string) => boolean {
  const parts = small(text)
    .split("*")
    .filter((part) => part !== "");
  return (value) => {
    const low = small(value);
    let at = 0;
    for (const part of parts) {
      const found = low.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return true;
  };
}

/** difflib.get_close_matches(word, choices, 1): the closest of them, if it is close. */
export function closest(word: string, choices: Iterable<string>): string | undefined {
  const other = [...word];
  const places = placesOf(other);
  let best: string | undefined,
    most = 0.6;
  for (const choice of choices) {
    const letters = [...choice];
    const length = letters.length + other.length;
    const ratio = length ? (2 * matching(letters, other, places)) / length : 1;
    if (ratio > most || (ratio === most && (best === undefined || compare(choice, best) > 0))) {
      most = ratio;
      best = choice;
    }
  }
  return best;
}

/** Places of each letter; of 200 letters and more, letters too common are left out (autojunk). */
function placesOf(letters: string[]): Map<string, number[]> {
  const places = new Map<string, number[]>();
  letters.forEach((letter, i) => {
    const found = places.get(letter);
    if (found) found.push(i);
    else places.set(letter, [i]);
  });
  const most = Math.floor(letters.length / 100) + 1;
  if (letters.length >= 200) for (const [letter, at] of places) if (at.length > most) places.delete(letter);
  return places;
}

/** Letters in the blocks that SequenceMatcher(a, b) finds: the longest one first, then to its left
 * and right. */
function matching(a: string[], b: string[], places: Map<string, number[]>): number {
  let total = 0;
  const queue: [number, number, number, number][] = [[0, a.length, 0, b.length]];
  for (let next = queue.pop(); next; next = queue.pop()) {
    const [alo, ahi, blo, bhi] = next;
    const [i, j, size] = longest(a, b, places, next);
    if (!size) continue;
    total += size;
    if (alo < i && blo < j) queue.push([alo, i, blo, j]);
    if (i + size < ahi && j + size < bhi) queue.push([i + size, ahi, j + size, bhi]);
  }
  return total;
}

function longest(
  a: string[],
  b: string[],
  places: Map<string, number[]>,
  [alo, ahi, blo, bhi]: [number, number, number, number],
): [number, number, number] {
  let besti = alo,
    bestj = blo,
    size = 0;
  let ending = new Map<number, number>();
  for (let i = alo; i < ahi; i++) {
    const now = new Map<number, number>();
    for (const j of places.get(a[i]!) ?? []) {
      if (j < blo) continue;
      if (j >= bhi) break;
      const k = (ending.get(j - 1) ?? 0) + 1;
      now.set(j, k);
      if (k > size) [besti, bestj, size] = [i - k + 1, j - k + 1, k];
    }
    ending = now;
  }
  while (besti > alo && bestj > blo && a[besti - 1] === b[bestj - 1]) {
    besti--;
    bestj--;
    size++;
  }
  while (besti + size < ahi && bestj + size < bhi && a[besti + size] === b[bestj + size]) size++;
  return [besti, bestj, size];
}
