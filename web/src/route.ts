// The address holds all state: #/features?f=q<.01&s=cds. Typing replaces, clicking pushes history.
import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** Parts of the path, decoded: ["feature", "L6/1234"]. The first names the page. */
  path: string[];
  query: Record<string, string>;
}

/** A feature's name holds a slash and is one part: #/feature/L6/1234 is ["feature", "L6/1234"]. */
export function parse(hash: string): Route {
  const text = hash.replace(/^#\/?/, "");
  const mark = text.indexOf("?");
  const path = (mark < 0 ? text : text.slice(0, mark)).split("/").filter((part) => part !== "").map(decode);
  const query: Record<string, string> = {};
  if (mark >= 0) for (const [name, value] of new URLSearchParams(text.slice(mark + 1))) query[name] = value;
  return { path: path.length > 2 ? [path[0]!, path.slice(1).join("/")] : path, query };
}

/** The address of a route; empty values are left out. */
export function href(path: (string | number)[], query: Record<string, string | number | null | undefined> = {}): string {
  const told = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") told.set(name, String(value));
  const parts = path.map((part) => String(part).split("/").map(encodeURIComponent).join("/"));
  const text = told.toString();
  return `#/${parts.join("/")}${text ? `?${text}` : ""}`;
}

/** Goes to an address: a click pushes history, typing replaces it. */
export function go(address: string, replace = false): void {
  if (address === (location.hash || "#/")) return;
  if (replace) {
    history.replaceState(null, "", address);
    window.dispatchEvent(new Event("hashchange"));
  } else location.hash = address;
}

/** The address of this page with some of its query changed. */
export function withQuery(route: Route, change: Record<string, string | number | null | undefined>): string {
  return href(route.path, { ...route.query, ...change });
}

export function useRoute(): Route {
  const [route, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => set(parse(location.hash));
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
