// The key of groups above a drawing: symbol and word.
import type { VNode } from "preact";
import { category, CATEGORIES, glyph, keyLines } from "./frame";

const STEP = 17;

/** From the eighth group on all share one color and one word. */
const words = (groups: string[]): string[] =>
  groups.length > CATEGORIES
    ? [...groups.slice(0, CATEGORIES), `${groups.length - CATEGORIES} others`]
    : groups;

export function groupLines(groups: string[], width: number): { height: number } {
  const shown = words(groups);
  return { height: shown.length < 2 ? 0 : STEP * ((keyLines(shown, width - 8, 16).at(-1)?.line ?? 0) + 1) };
}

export function GroupKey({ groups, width }: { groups: string[]; width: number }): VNode | null {
  const shown = words(groups);
  if (shown.length < 2) return null;
  const places = keyLines(shown, width - 8, 16);
  return (
    <g class="key">
      {shown.map((word, i) => (
        <g
          key={word}
          class={category(i)}
          transform={`translate(${10 + places[i]!.x},${10 + places[i]!.line * STEP})`}
        >
          <path class="mark" d={glyph(i)} />
          <text x={9} y={4}>
            {word}
          </text>
        </g>
      ))}
    </g>
  );
}
