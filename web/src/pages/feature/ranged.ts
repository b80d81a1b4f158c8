// A study's own effect that has its interval in two further columns.
import type { Feature, Home } from "../../data/format";
import { interval, show } from "../../ui/show";

export interface Ranged {
  head: string;
  /** The number with its interval, and what it is. */
  told: string;
}

/** What a study declares under these names; null where it has no such column or this feature no value. */
export function ranged(
  home: Home,
  feature: Feature,
  [name, low, high]: readonly [string, string, string],
): Ranged | null {
  const column = home.columns.find((c) => c.name === name),
    value = feature.values[name];
  if (!column || value === null || value === undefined) return null;
  const real = (of: string) => {
    const found = feature.values[of];
    return typeof found === "number" ? found : null;
  };
  const range = interval(real(low), real(high), column.form, "(no interval)");
  return { head: column.head || name, told: `${show(value, column.form)} ${range}: ${column.text}` };
}
