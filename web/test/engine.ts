// What tests ask the engine of the page: filters, searches and sortings of an exported atlas,
// answered in identifiers, or the words of the error.
import { matches } from "../src/data/filter";
import { closest } from "../src/data/filter/words";
import { json } from "../src/data/chunk";
import { column } from "../src/data/columns";
import type { Home } from "../src/data/format";
import { idAt } from "../src/data/names";
import { search, type Found } from "../src/data/search";
import { order } from "../src/data/sort";

export interface Asked {
  filters: string[];
  searches: string[];
  sorts: [string, boolean][];
  words: [string, string[]][];
}
export interface Answers {
  filters: (number[] | string)[];
  searches: (Found[] | string)[];
  sorts: (number[] | string)[];
  /** The closest of some words; null: none is close. */
  words: (string | null)[];
}

export async function answer(asked: Asked): Promise<Answers> {
  const home = await json<Home>("home");
  const index = (await column(home, "feature")).raw;
  const idsOf = (rows: Iterable<number>) => Array.from(rows, (row) => idAt(home, row, index));
  return {
    filters: await each(asked.filters, async (text) => {
      const { mask, count } = await matches(home, text);
      const rows = [...mask.keys()].filter((row) => mask[row]);
      if (rows.length !== count) throw new Error(`${text}: ${count} counted, ${rows.length} passed`);
      return idsOf(rows);
    }),
    searches: await each(asked.searches, (text) => search(home, text)),
    sorts: await each(asked.sorts, async ([name, down]) => idsOf(await order(home, name, down))),
    words: asked.words.map(([word, choices]) => closest(word, choices) ?? null),
  };
}

async function each<T, R>(all: T[], one: (item: T) => Promise<R>): Promise<(R | string)[]> {
  const answers: (R | string)[] = [];
  for (const item of all) answers.push(await one(item).catch((error: Error) => error.message));
  return answers;
}
