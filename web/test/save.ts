// What tests ask of saved tables: the CSV of some rows.
import type { Home } from "../src/data/format";
import { csv } from "../src/ui/save";

interface Asked { home: Home; title: string; heads: string[]; rows: (number | string | null)[][] }

export const answer = async ({ home, title, heads, rows }: Asked): Promise<string> =>
  csv(home, title, heads.map((head) => ({ head })), rows);
