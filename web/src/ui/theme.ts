// Light, dark, or as the system says. A forced theme stands in the address (theme=dark) and, where
// the browser lets a page remember, is kept for the next one.
import { useEffect, useState } from "preact/hooks";
import { go, withQuery, type Route } from "../route";

export type Theme = "auto" | "light" | "dark";
const KEY = "petriscope-theme";
const NEXT: Record<Theme, Theme> = { auto: "dark", dark: "light", light: "auto" };

const known = (text: string | null | undefined): Theme | null =>
  text === "light" || text === "dark" || text === "auto" ? text : null;

/** The theme, and a function that turns to the next one. */
export function useTheme(route: Route): [Theme, () => void] {
  const asked = known(route.query["theme"]);
  const [theme, set] = useState<Theme>(() => asked ?? remembered());
  useEffect(() => {
    if (asked) set(asked);
  }, [asked]);
  useEffect(() => {
    if (theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  return [
    theme,
    () => {
      const next = NEXT[theme];
      set(next);
      try {
        localStorage.setItem(KEY, next);
      } catch {
        /* a page opened from a disk may not remember */
      }
      go(withQuery(route, { theme: next === "auto" ? null : next }), true);
    },
  ];
}

function remembered(): Theme {
  try {
    return known(localStorage.getItem(KEY)) ?? "auto";
  } catch {
    return "auto";
  }
}
