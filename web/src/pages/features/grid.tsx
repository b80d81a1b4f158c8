// The table of all features: only the rows in sight are in the page. One cell holds the focus, arrows
// move it; a screen reader hears how many rows and columns there are.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Column } from "../../data/format";
import { nameOf } from "../../data/names";
import { show } from "../../ui/show";

/** Pixels of a row; app.css has the same height. */
const ROW = 28;
const BEYOND = 10;
/** Rows that are printed. */
const PRINTED = 200;

export interface GridProps {
  columns: Column[];
  /** Rows in all. */
  count: number;
  /** Identifier of the k-th row; null where it is not known yet. */
  idOf: (place: number) => number | null;
  /** The cells of the k-th row, in the order of the columns; null where they are not known yet. */
  cellsOf: (place: number) => (number | string | null)[] | null;
  sort: string;
  descending: boolean;
  onSort: (name: string) => void;
  hrefOf: (id: number) => string;
  /** Changes when the rows are others: the table goes back to its top. */
  rowsKey: string;
}

export function Grid(props: GridProps) {
  const { columns, count, onSort } = props;
  const box = useRef<HTMLDivElement>(null);
  const [[from, to], setWindow] = useState<[number, number]>([0, 40]);
  const [active, setActive] = useState<[number, number]>([0, 0]);
  const wanted = useRef(false);
  const last = columns.length;
  const see = () => {
    const { scrollTop, clientHeight } = box.current!;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - BEYOND);
    setWindow([first, first + Math.ceil(clientHeight / ROW) + 2 * BEYOND]);
  };
  useLayoutEffect(() => {
    const seen = new ResizeObserver(see);
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    box.current!.scrollTop = 0;
    setActive(([, column]) => [0, Math.min(column, last)]);
    see();
  }, [props.rowsKey]);
  useEffect(() => {
    const print = () => setWindow([0, PRINTED]);
    window.addEventListener("beforeprint", print);
    window.addEventListener("afterprint", see);
    return () => {
      window.removeEventListener("beforeprint", print);
      window.removeEventListener("afterprint", see);
    };
  }, []);
  useLayoutEffect(() => {
    if (!wanted.current) return;
    const cell = box.current!.querySelector<HTMLElement>('[tabindex="0"]');
    if (cell) {
      wanted.current = false;
      cell.focus({ preventScroll: true });
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
  const move = (row: number, column: number) => {
    const next: [number, number] = [
      Math.max(-1, Math.min(row, count - 1)),
      Math.max(0, Math.min(column, last)),
    ];
    setActive(next);
    wanted.current = true;
    if (next[0] >= 0) bring(box.current!, next[0]);
    see();
  };
  // j and k enter the table from anywhere on the page.
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if ((event.key !== "j" && event.key !== "k") || event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as HTMLElement;
      if (["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName) || box.current!.contains(target)) return;
      event.preventDefault();
      move(active[0], active[1]);
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  });
  const keyed = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [row, column] = active,
      page = Math.max(1, Math.floor(box.current!.clientHeight / ROW) - 2);
    const steps: Record<string, [number, number]> = {
      ArrowDown: [row + 1, column],
      j: [row + 1, column],
      ArrowUp: [row - 1, column],
      k: [row - 1, column],
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      PageDown: [row + page, column],
      PageUp: [Math.max(0, row - page), column],
      Home: [0, column],
      End: [count - 1, column],
    };
    const step = steps[event.key];
    if (step) move(...step);
    else if (event.key === "s" || (row < 0 && (event.key === "Enter" || event.key === " "))) {
      onSort(column ? columns[column - 1]!.name : "layer");
    } else if (event.key === "Enter") {
      const id = props.idOf(row);
      if (id !== null) location.hash = props.hrefOf(id);
    } else return;
    event.preventDefault();
  };
  const first = Math.max(0, Math.min(from, count)),
    end = Math.min(to, count);
  const inside = active[0] < 0 || (active[0] >= first && active[0] < end);
  return (
    <div
      class="rows"
      ref={box}
      tabIndex={inside && count ? -1 : 0}
      onScroll={see}
      onKeyDown={keyed}
      role="region"
      aria-label="Table of features"
    >
      <table
        role="grid"
        aria-label="Features"
        aria-rowcount={count + 1}
        aria-colcount={last + 1}
        width={120 + columns.reduce((sum, c) => sum + widthOf(c), 0)}
      >
        <colgroup>
          <col width="120" />
          {columns.map((c) => (
            <col key={c.name} width={widthOf(c)} />
          ))}
        </colgroup>
        <thead>
          <tr role="row" aria-rowindex={1}>
            <Head
              {...props}
              name="layer"
              head="feature"
              text="layer and index; a click sorts by layer"
              column={0}
              active={active}
              focus={() => setActive([-1, 0])}
            />
            {columns.map((c, i) => (
              <Head
                {...props}
                key={c.name}
                name={c.name}
                head={c.head}
                text={c.text}
                number={c.form !== "text"}
                column={i + 1}
                active={active}
                focus={() => setActive([-1, i + 1])}
              />
            ))}
          </tr>
        </thead>
        <tbody>
          {first > 0 ? (
            <tr aria-hidden="true" class="room">
              <td height={first * ROW} colSpan={last + 1} />
            </tr>
          ) : null}
          {Array.from({ length: Math.max(0, end - first) }, (_, i) => (
            <Row
              {...props}
              key={first + i}
              place={first + i}
              active={active}
              focus={(column) => setActive([first + i, column])}
            />
          ))}
          {end < count ? (
            <tr aria-hidden="true" class="room">
              <td height={(count - end) * ROW} colSpan={last + 1} />
            </tr>
          ) : null}
        </tbody>
      </table>
    </div>
  );
}

/** Scrolls a row into sight, below the head. */
function bring(box: HTMLElement, row: number): void {
  const top = row * ROW,
    room = box.clientHeight - 2 * ROW;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top > box.scrollTop + room) box.scrollTop = top - room;
}

const widthOf = (column: Column): number =>
  column.name === "label" ? 260 : Math.max(column.form === "text" ? 110 : 84, column.head.length * 9 + 34);

function Head({
  sort,
  descending,
  onSort,
  name,
  head,
  text,
  number,
  column,
  active,
  focus,
}: GridProps & {
  name: string;
  head: string;
  text: string;
  number?: boolean;
  column: number;
  active: [number, number];
  focus: () => void;
}) {
  const on = sort === name;
  return (
    <th
      role="columnheader"
      scope="col"
      aria-colindex={column + 1}
      data-column={name}
      class={number ? "n" : ""}
      title={text}
      aria-sort={on ? (descending ? "descending" : "ascending") : "none"}
      tabIndex={active[0] < 0 && active[1] === column ? 0 : -1}
      onFocus={focus}
      onClick={() => onSort(name)}
    >
      {head}
      <span aria-hidden="true" class="sorted">
        {on ? (descending ? " ▼" : " ▲") : ""}
      </span>
    </th>
  );
}

function Row({
  columns,
  idOf,
  cellsOf,
  hrefOf,
  place,
  active,
  focus,
}: GridProps & {
  place: number;
  active: [number, number];
  focus: (column: number) => void;
}) {
  const id = idOf(place),
    cells = cellsOf(place);
  const tab = (column: number) => (active[0] === place && active[1] === column ? 0 : -1);
  return (
    <tr role="row" aria-rowindex={place + 2} class={active[0] === place ? "chosen" : ""}>
      <th role="rowheader" scope="row" aria-colindex={1} tabIndex={tab(0)} onFocus={() => focus(0)}>
        {id === null ? (
          "…"
        ) : (
          <a class="id" tabIndex={-1} href={hrefOf(id)}>
            {nameOf(id)}
          </a>
        )}
      </th>
      {columns.map((c, i) => {
        const text = cells ? show(cells[i], c.form) : "…";
        return (
          <td
            key={c.name}
            role="gridcell"
            aria-colindex={i + 2}
            class={c.form === "text" ? "" : "n"}
            title={c.form === "text" && text.length > 12 ? text : undefined}
            tabIndex={tab(i + 1)}
            onFocus={() => focus(i + 1)}
          >
            {text}
          </td>
        );
      })}
    </tr>
  );
}
