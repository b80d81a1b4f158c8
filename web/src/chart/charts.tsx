// The drawings of all pages as SVG inside a <Figure>; each takes plain numbers and draws no number
// of its own. Colors come from classes (app.css), so that themes and print apply; `Figure` writes
// them into what it saves.
import type { VNode } from "preact";

export interface Point { x: number; y: number | null; lo?: number | null; hi?: number | null }
export interface Series {
  name: string;
  points: Point[];
  /** A null is dashed and grey; values take the colors of categories in turn. */
  role: "value" | "null";
}
interface Size { width: number; height: number }
interface Axes { xLabel: string; yLabel: string; xTicks?: { at: number; text: string }[]; yDomain?: [number, number]; xLog?: boolean; yLog?: boolean; baseline?: number }

/** Lines with bands of their intervals; direct labels at the ends, never overlapping. */
export declare function Lines(props: Size & Axes & { series: Series[] }): VNode;

/** Horizontal bars: value beside its null (an outlined bar or a tick), labels at the left. */
export declare function Bars(props: Size & { rows: { label: string; value: number | null; null?: number | null; lo?: number | null; hi?: number | null; href?: string }[]; xLabel: string; form?: string }): VNode;

/** Effects with intervals, a dashed line at zero. */
export declare function Forest(props: Size & { rows: { label: string; estimate: number | null; lo: number | null; hi: number | null; tone?: "reference" | "target" | "none" }[]; xLabel: string; zero?: number }): VNode;

/** Counts in bins. */
export declare function Histogram(props: Size & { bins: { from: number; to: number; count: number }[]; xLabel: string; yLabel: string; xLog?: boolean; marks?: { at: number; text: string }[] }): VNode;

/** Rows by columns, viridis; null cells hatched. */
export declare function Heat(props: Size & { rows: string[]; columns: string[]; cells: (number | null)[][]; label: string }): VNode;

/** Nodes at given positions (0..1) with edges; nodes are links where they have one. */
export declare function NodeLink(props: Size & { nodes: { x: number; y: number; size: number; label: string; group: number; href?: string }[]; edges: { a: number; b: number; weight: number }[]; groups: string[] }): VNode;

/** Flows between the nodes at the left and at the right. */
export declare function Flows(props: Size & { left: { key: string; label: string }[]; right: { key: string; label: string }[]; links: { from: string; to: string; value: number; null?: number | null }[] }): VNode;

/** Points with a symbol per group; few enough for SVG (under 2,000). */
export declare function Dots(props: Size & Axes & { points: { x: number; y: number; group: number; label: string; href?: string }[]; groups: string[] }): VNode;
