// What every page gets, and the table of pages.
import type { VNode } from "preact";
import type { Home } from "../data/format";
import type { Route } from "../route";

export interface PageProps { home: Home; route: Route }
export interface PageOf {
  /** First part of the address. */
  path: string;
  /** In the navigation; null: reached from other pages only. */
  nav: string | null;
  title: (route: Route, home: Home) => string;
  Page: (props: PageProps) => VNode;
}
