// Two of a kind side by side: features, layers, models or studies. The address says which.
import { Choose, layersOf } from "./compare/form";
import { TwoFeatures } from "./compare/features";
import { TwoLayers } from "./compare/layers";
import { TwoStudies } from "./compare/studies";
import type { PageOf, PageProps } from "./page";

function Page({ home, route }: PageProps) {
  const { a, b, layers, study } = route.query,
    pair = layersOf(home, layers ?? "");
  return (
    <article>
      <h1>Compare</h1>
      <Choose home={home} route={route} key={JSON.stringify(route.query)} />
      {a || b ? (
        <TwoFeatures home={home} a={a ?? ""} b={b ?? ""} />
      ) : pair ? (
        <TwoLayers home={home} layers={pair} />
      ) : layers ? (
        <p class="empty">
          {JSON.stringify(layers)} are no two layers of this atlas: write two of{" "}
          {home.layers.map((l) => l.layer).join(", ")}.
        </p>
      ) : study ? (
        <TwoStudies home={home} study={study} />
      ) : (
        <p class="empty">Nothing to compare yet: name two features, or choose two layers.</p>
      )}
    </article>
  );
}

export const compare: PageOf = { path: "compare", nav: "Compare", title: () => "Compare", Page };
