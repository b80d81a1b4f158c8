// What tests ask of printed numbers: a form and its values, as numbers or as float32 of a column.
import { shortest } from "../src/data/columns";
import type { Form } from "../src/data/format";
import { show } from "../src/ui/show";

interface Asked { form: Form | "percent"; narrow: boolean; values: (number | null)[] }

export const answer = async (asked: Asked[]): Promise<string[][]> =>
  asked.map(({ form, narrow, values }) =>
    values.map((v) => show(v === null || !narrow ? v : shortest(Math.fround(v)), form)),
  );
