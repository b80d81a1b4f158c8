// What a reader takes away names where it came from: CSV with comment lines, files by a link that
// is clicked once. Nothing is sent anywhere.
import type { Home } from "../data/format";
import type { Cell, Head } from "./table";
import { valueOf } from "./table";

/** Name and value of what a file should say of its source. */
export function provenance(home: Home): [string, string][] {
  const run = home.run,
    hash = location.hash || "#/";
  const mark = hash.indexOf("?"),
    filter = mark < 0 ? null : new URLSearchParams(hash.slice(mark + 1)).get("f");
  const keys = ["dataset", "study", "source", "paper", "model", "models", "seed", "revision"];
  const told: [string, string | null | undefined][] = [
    ...keys.map((key): [string, string | null | undefined] => [key, run[key]]),
    ["program", `petriscope ${home.program}`],
    ["atlas sha256", home.atlas.sha256],
    ["address", address()],
    ["filter", filter],
  ];
  return told.filter((entry): entry is [string, string] => Boolean(entry[1]));
}

/** The address of this page; of a folder on a disk only what lies inside the folder. */
export function address(): string {
  const hash = location.hash || "#/";
  return location.protocol === "file:"
    ? `${location.pathname.split("/").pop() || "index.html"}${hash}`
    : `${location.origin}${location.pathname}${hash}`;
}

/** Six significant digits as C's %.6g; whole numbers in full. */
export function digits(value: number): string {
  if (Number.isInteger(value)) return String(value);
  if (!Number.isFinite(value)) return "";
  const power = Number(value.toExponential(5).split("e")[1]);
  if (power < -4 || power >= 6) {
    const [mantissa, exponent] = value.toExponential(5).split("e") as [string, string];
    return `${String(Number(mantissa))}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }
  return String(Number(value.toPrecision(6)));
}

const quoted = (text: string) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const field = (value: number | string | null) =>
  value === null ? "" : typeof value === "number" ? digits(value) : quoted(value);

/** RFC 4180 with comment lines above that say where the rows came from. */
export function csv(home: Home, title: string, heads: Pick<Head, "head">[], rows: Iterable<Cell[]>): string {
  const lines = [["table", title] as [string, string], ...provenance(home)].map(
    ([name, text]) => `# ${name}: ${text.replace(/\s+/g, " ")}`,
  );
  lines.push(heads.map((h) => quoted(h.head)).join(","));
  for (const row of rows) lines.push(row.map((cell) => field(valueOf(cell))).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

/** Gives the reader a file. */
export function download(name: string, content: Blob | string, type = "text/csv;charset=utf-8"): void {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, "_");
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
