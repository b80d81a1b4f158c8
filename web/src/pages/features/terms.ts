// Terms of the filter line that facets set and unset; what people type beside them stays.
import { FilterError, parseFilter, TERM } from "../../data/filter/parse";
import type { Home } from "../../data/format";

export const termsOf = (filter: string): string[] => filter.match(TERM) ?? [];

/** The value as the filter language needs it. */
const needsQuotes = (value: string) => /[\s,]/.test(value);

/** The term that says a column is any of these words, or null where quotes forbid a list. */
function term(name: string, values: string[]): string {
  return values.length === 1 && needsQuotes(values[0]!)
    ? `${name}="${values[0]}"`
    : `${name}=${values.join(",")}`;
}

/** The words that `NAME=a,b` in the filter asks for. */
export function chosen(filter: string, name: string): string[] {
  const found = termsOf(filter).find((t) => t.startsWith(`${name}=`));
  if (!found) return [];
  const value = found.slice(name.length + 1);
  return value.includes('"') ? [value.replaceAll('"', "")] : value.split(",");
}

/** The filter with a word of a column added to those asked for, or taken away. Words that need quotes
 * cannot stand in a list: they stand alone. */
export function toggled(filter: string, name: string, value: string): string {
  const before = chosen(filter, name);
  const after = before.includes(value)
    ? before.filter((v) => v !== value)
    : needsQuotes(value) || before.some(needsQuotes)
      ? [value]
      : [...before, value];
  const kept = termsOf(filter).filter((t) => !t.startsWith(`${name}=`));
  return [...kept, ...(after.length ? [term(name, after)] : [])].join(" ");
}

/** The filter with a whole term added or taken away. */
export function switched(filter: string, whole: string): string {
  const terms = termsOf(filter);
  return (terms.includes(whole) ? terms.filter((t) => t !== whole) : [...terms, whole]).join(" ");
}

/** What is wrong with a filter, or null. */
export function fault(home: Home, filter: string): string | null {
  try {
    parseFilter(home, filter);
    return null;
  } catch (error) {
    if (error instanceof FilterError) return error.message;
    throw error;
  }
}
