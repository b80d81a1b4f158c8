// A plain table of a few hundred rows at most; the feature browser has its own (pages/features.tsx).
import type { ComponentChildren } from "preact";
import type { Form } from "../data/format";
import { show } from "./show";

/** A cell: a value printed by its column's form, or markup with the value that it stands for. */
export type Cell = number | string | null | { value: number | string | null; node: ComponentChildren };
export interface Head {
  head: string;
  form: Form;
  text?: string;
}

export const valueOf = (cell: Cell) => (cell !== null && typeof cell === "object" ? cell.value : cell);

/** Numbers and short words, such as an interval, stay on one line. */
function classOf(cell: Cell, head: Head): string {
  if (head.form !== "text") return "n";
  const text = cell !== null && typeof cell === "object" ? cell.node : cell;
  if (typeof text !== "string") return "";
  // A sentence is not squeezed into a column of single words.
  return text.length <= 26 ? "short" : text.length > 60 ? "long" : "";
}

export function Table({
  caption,
  heads,
  rows,
  limit = 200,
}: {
  caption: string;
  heads: Head[];
  rows: Cell[][];
  limit?: number;
}) {
  const shown = rows.slice(0, limit);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption>
          {caption}
          {rows.length > limit ? ` (the first ${limit} of ${rows.length})` : ""}
        </caption>
        <thead>
          <tr>
            {heads.map((h) =>
              // A head without words is no heading to a screen reader.
              h.head ? (
                <th scope="col" class={h.form === "text" ? "" : "n"} title={h.text}>
                  {h.head}
                </th>
              ) : (
                <td />
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr>
              {row.map((cell, i) => (
                <td class={classOf(cell, heads[i]!)}>
                  {cell !== null && typeof cell === "object" ? cell.node : show(cell, heads[i]!.form)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
