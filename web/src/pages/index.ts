// The table of pages, in the order of the navigation.
import { about } from "./about";
import { causal } from "./causal";
import { compare } from "./compare";
import { controls } from "./controls";
import { crispr } from "./crispr";
import { feature } from "./feature";
import { features } from "./features";
import { flow } from "./flow";
import { gene } from "./gene";
import { graph } from "./graph";
import { layer } from "./layer";
import { layers } from "./layers";
import { map } from "./map";
import { module } from "./module";
import { modules } from "./modules";
import { overview } from "./overview";
import type { PageOf } from "./page";
import { region } from "./region";
import { term } from "./term";

export const PAGES: PageOf[] = [
  overview, layers, features, map, modules, flow, graph, compare, causal, controls, crispr, about,
  layer, feature, module, gene, term, region,
];
