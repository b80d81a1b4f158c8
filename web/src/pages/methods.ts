// What was done, in a few lines, in the words of the run card and of the atlas's own columns.
import type { Home } from "../data/format";
import { bound, show } from "../ui/show";

type Line = [head: string, text: string];

const spoken = (name: string): string => name.replaceAll("_", " ");

/** What was done, in the order in which it was done; what this atlas lacks is left out. */
export function methods(home: Home): Line[] {
  return [...model(home), ...tests(home), ...further(home)];
}

/** What the atlas says of a column that has values. */
function meaning(home: Home, name: string): string | null {
  const found = home.columns.find((c) => c.name === name && c.filled);
  return found ? found.text || found.head : null;
}

function model(home: Home): Line[] {
  const { run } = home,
    out: Line[] = [];
  const given = (...names: string[]) => names.flatMap((name) => run[name] ?? []).join("; ");
  if (run["source"]) out.push(["Source", `${given("source", "paper")}.`]);
  if (given("model", "models")) out.push(["Model", `${given("model", "models", "model_r")}.`]);
  const layers = run["layers"] ?? meaning(home, "layer");
  if (layers) out.push(["Layers", `${layers}.`]);
  const measured = ["fvu", "l0", "dead"].some((name) => home.layers.some((l) => l.values[name] != null));
  const quality = measured ? "FVU, L0 and dead share are measured on tokens held out from training." : "";
  out.push([
    "Autoencoders",
    `one sparse autoencoder a layer${run["sae"] ? `: ${run["sae"]}` : ""}. ${quality}`,
  ]);
  if (run["nulls"]) out.push(["Nulls", `${run["nulls"]}.`]);
  return out;
}

function tests(home: Home): Line[] {
  const { words, thresholds } = home,
    out: Line[] = [];
  const alive = meaning(home, "alive") !== null,
    score = meaning(home, "cds"),
    stable = meaning(home, "stability");
  if (alive)
    out.push([
      "Alive features",
      "features that fire often enough to be compared; shares are of alive features.",
    ]);
  if (home.contrasted) {
    const sides = `${spoken(words.target)} against ${spoken(words.reference)}`;
    const level = `the ${words.unit} is the unit of replication`;
    const cut = `a context feature has q < ${bound(thresholds.alpha)} (${meaning(home, "q") ?? "q"})`;
    out.push(["Contrast", `${[sides, level, score, cut].filter(Boolean).join("; ")}.`]);
  }
  if (home.layers.some((l) => l.values["random_init_fraction"] != null)) {
    out.push(["Null model", "the same analysis of a randomly initialized model of the same architecture."]);
  }
  if (stable) out.push(["Stability", `${stable}; a feature is stable from ${bound(thresholds.stable)} on.`]);
  const kinds = home.kinds.filter((k) => home.layers.some((l) => (l.annotated[k.name] ?? 0) > 0));
  if (kinds.length) {
    const names = kinds.map((k) => `${k.many} (${k.estimate})`).join(", ");
    out.push(["Annotation", `${names}; a feature is annotated where q < ${bound(thresholds.alpha)}.`]);
  }
  const causal = meaning(home, "causal_percentile");
  if (causal) {
    const effect = meaning(home, "causal_effect");
    const rank = effect ? `${effect}; ${causal}` : causal.replace("that effect", "its effect");
    out.push(["Causal tests", `${rank}; a feature is causal from ${show(thresholds.causal, "share")} on.`]);
  }
  return out;
}

function further(home: Home): Line[] {
  const out: Line[] = [];
  const graphs = [...new Set(home.modules.map(([graph]) => spoken(graph)))].join(", ");
  if (graphs) out.push(["Modules", `communities of features that fire together, in the graphs: ${graphs}.`]);
  if (home.has.includes("perturbations")) {
    out.push(["Perturbations", "responses of features to perturbed genes, beside matched sets of features."]);
  }
  if (home.layout) {
    const { method, seed, parameters } = home.layout;
    out.push(["Map", `${method} (seed ${seed}; ${parameters}). Position is not evidence.`]);
  }
  if (home.claims.some((c) => c.corrected)) {
    out.push([
      "Claims",
      "each as published and corrected; its rule was written down before its numbers were looked at.",
    ]);
  }
  return out;
}
