// A figure: a drawing with its text alternative, its table on demand, and SVG, PNG and CSV with
// dataset, seed, revision and address inside the file.
import { cloneElement, isValidElement, type ComponentChildren, type VNode } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Home } from "../data/format";
import { useEscape } from "../ui/escape";
import { csv, download } from "../ui/save";
import { Table, type Cell, type Head } from "../ui/table";
import { png, svgText } from "./save";

export interface FigureData {
  heads: Head[];
  rows: Cell[][];
}

/** `alt` says in a sentence what the drawing shows; `note` stands below it (method, null). `width` is
 * the most that is asked for: where there is less room the drawing is made narrower, its text is not. */
export function Figure({
  home,
  name,
  title,
  alt,
  note,
  data,
  width: wanted,
  height: tall,
  square,
  children,
}: {
  home: Home;
  name: string;
  title: string;
  alt: string;
  note?: ComponentChildren;
  data: FigureData;
  width: number;
  height: number;
  /** Its height shrinks with its width. */
  square?: boolean;
  children: ComponentChildren;
}) {
  const drawing = useRef<SVGSVGElement>(null);
  const [open, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  // An image hides what is inside it from assistive technology; a drawing with links is a group.
  const [linked, setLinked] = useState(false);
  useLayoutEffect(() => setLinked(drawing.current?.querySelector("a") != null));
  const [width, frame] = useRoom(wanted);
  const height = square ? tall - (wanted - width) : tall;
  useEscape(open, () => setOpen(false));
  const file = `petriscope-${home.run["study"] ?? home.run["dataset"] ?? "atlas"}-${name}`;
  const drawn = () => svgText(home, drawing.current!, title, alt);
  const saveSvg = () => download(`${file}.svg`, drawn().text, "image/svg+xml");
  const savePng = () => {
    setProblem("");
    png(drawn()).then(
      (blob) => download(`${file}.png`, blob),
      (error: Error) => setProblem(error.message),
    );
  };
  return (
    <figure ref={frame}>
      <figcaption>{title}</figcaption>
      <div class="drawing">
        <svg
          ref={drawing}
          role={linked ? "group" : "img"}
          aria-label={alt}
          viewBox={`0 0 ${width} ${height}`}
          width={width}
          height={height}
        >
          {narrowed(children, wanted, width)}
        </svg>
      </div>
      {note ? <p class="note">{note}</p> : null}
      <div class="tools">
        <button
          type="button"
          aria-expanded={open}
          aria-label={`data of ${title}`}
          onClick={() => setOpen(!open)}
        >
          data
        </button>
        <button type="button" aria-label={`save ${title} as SVG`} onClick={saveSvg}>
          SVG
        </button>
        <button type="button" aria-label={`save ${title} as PNG`} onClick={savePng}>
          PNG
        </button>
        <button
          type="button"
          aria-label={`save the data of ${title} as CSV`}
          onClick={() => download(`${file}.csv`, csv(home, title, data.heads, data.rows))}
        >
          CSV
        </button>
      </div>
      {problem ? (
        <p class="error" role="alert">
          {problem}
        </p>
      ) : null}
      {open ? <Table caption={title} heads={data.heads} rows={data.rows} /> : null}
    </figure>
  );
}

/** The width of the page's column, at most `wanted`. */
function useRoom(wanted: number) {
  const frame = useRef<HTMLElement>(null);
  const [room, setRoom] = useState(wanted);
  useLayoutEffect(() => {
    if (!frame.current) return;
    const fit = (room: number) => setRoom(Math.max(Math.floor(room), 240));
    fit(frame.current.clientWidth); // before the first paint: a wide drawing would stretch the page
    const seen = new ResizeObserver(([entry]) => fit(entry!.contentRect.width));
    seen.observe(frame.current);
    return () => seen.disconnect();
  }, []);
  return [Math.min(wanted, room), frame] as const;
}

/** The drawing with the width that there is room for. */
function narrowed(children: ComponentChildren, wanted: number, width: number): ComponentChildren {
  if (width === wanted || !isValidElement(children)) return children;
  const drawing = children as VNode<{ width?: number }>;
  return drawing.props.width === wanted ? cloneElement(drawing, { width }) : children;
}
