// Names of the data as people say them: the words of the terminal UI (petriscope_tui.evidence).
import { grouped } from "./show";

/** in_vivo is "in vivo". */
export const spoken = (name: string | null | undefined, none = ""): string =>
  name ? name.replace(/_/g, " ") : none;

const IRREGULAR: Record<string, string> = { stratum: "strata", locus: "loci" };

/** Of what a study calls its strata and units: strata, lineages, classes. */
export const plural = (word: string): string =>
  IRREGULAR[word] ?? `${word}${word.endsWith("s") ? "es" : "s"}`;

/** A label's confidence in words: the labelling stage knows four grades. */
export const confidence = (share: number): string =>
  share > 0.9 ? "high" : share > 0.5 ? "medium" : share > 0 ? "low" : "none";

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** "1 feature", "2 features". */
export const counted = (n: number, one: string, many = plural(one)): string =>
  `${grouped(n)} ${n === 1 ? one : many}`;
