// What tests ask the data behind the pages of features, genes, terms and regions.
import { json } from "../src/data/chunk";
import { around, featureOf, identifiers } from "../src/data/feature";
import { parseRegion } from "../src/data/filter/parse";
import type { Home } from "../src/data/format";
import { contextsIn } from "../src/data/place";
import { geneOf, termOf } from "../src/data/vocabulary";

export interface Asked {
  features: number[];
  /** Identifier, filter, sorting, descending. */
  steps: [number, string, string, boolean][];
  regions: string[];
  genes: string[];
  terms: string[];
}

export async function answer(asked: Asked) {
  const home = await json<Home>("home"), name = await identifiers(home);
  const rows = async (id: number) => (await featureOf(home, id)).row;
  return {
    features: await each(asked.features, async (id) => (await featureOf(home, id)).feature),
    steps: await each(asked.steps, async ([id, ...order]) => around(home, await rows(id), ...order)),
    regions: await each(asked.regions, async (text) =>
      (await contextsIn(home, parseRegion(text)!)).map((p) =>
        [name(p.row), home.units[p.unit]!.unit, p.chrom, p.start, p.end, p.activation])),
    genes: await each(asked.genes, async (text) => {
      const found = await geneOf(home, text);
      return found && { ...found, listed: found.listed && { ...found.listed, row: found.listed.row.map(name) } };
    }),
    terms: await each(asked.terms, async (text) => {
      const found = await termOf(home, text);
      return found && { name: found.name, post: found.post && { ...found.post, row: found.post.row.map(name) } };
    }),
  };
}

async function each<T, R>(all: T[], one: (item: T) => Promise<R>): Promise<(R | string)[]> {
  const answers: (R | string)[] = [];
  for (const item of all) answers.push(await one(item).catch((error: Error) => error.message));
  return answers;
}
