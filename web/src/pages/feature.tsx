// One feature: who it is, whether the evidence holds, where it fires, what it is like, where to go
// next.
import { around, featureOf, UnknownFeature } from "../data/feature";
import type { Feature, Home } from "../data/format";
import { idOf, nameOf } from "../data/names";
import { useAsked } from "../data/use";
import { href, type Route } from "../route";
import { Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Activations } from "./feature/activation";
import { Annotations } from "./feature/annotations";
import { Causal } from "./feature/causal";
import { Contexts } from "./feature/contexts";
import { Contrast } from "./feature/contrast";
import { Checks, Identity } from "./feature/identity";
import { CellTypes, Dependency, DocumentsOf, Genes, Responses, Row } from "./feature/lists";
import { Links, Similar } from "./feature/relatives";
import { Near } from "./found";
import type { PageOf, PageProps } from "./page";

function Page({ home, route }: PageProps) {
  const text = route.path[1] ?? "",
    id = idOf(text);
  const asked = useAsked(id === null ? null : `feature ${id}`, () => featureOf(home, id!));
  if (id === null) {
    return (
      <Near
        home={home}
        title={text || "Feature"}
        text={text}
        what={
          text ? `${JSON.stringify(text)} is no feature: write L6/1234.` : "Which feature? Write L6/1234."
        }
      />
    );
  }
  if (asked.error instanceof UnknownFeature)
    return <Near home={home} title={nameOf(id)} text={nameOf(id)} what={asked.error.message} />;
  return (
    <Loaded asked={asked} what={nameOf(id)}>
      {({ row, feature }) => (
        <article class="feature">
          <Steps home={home} route={route} row={row} />
          <Evidence home={home} feature={feature} />
        </article>
      )}
    </Loaded>
  );
}

function Evidence({ home, feature }: { home: Home; feature: Feature }) {
  return (
    <>
      <Identity home={home} feature={feature} />
      <Checks home={home} feature={feature} />
      {home.contrasted ? <Contrast home={home} feature={feature} /> : null}
      <Activations home={home} feature={feature} />
      <Contexts home={home} feature={feature} />
      <Genes home={home} feature={feature} />
      <Annotations home={home} feature={feature} />
      <Causal home={home} feature={feature} />
      <div class="pair">
        <CellTypes feature={feature} />
        <Responses home={home} feature={feature} />
      </div>
      <Similar home={home} feature={feature} />
      <Links home={home} feature={feature} />
      <div class="pair">
        <DocumentsOf home={home} feature={feature} />
        <Dependency home={home} feature={feature} />
      </div>
      <Row home={home} feature={feature} />
    </>
  );
}

/** The previous and the next feature in the order of the address; the keys [ and ] click these links. */
function Steps({ home, route, row }: { home: Home; route: Route; row: number }) {
  const { f = "", s = "", d = "" } = route.query;
  const asked = useAsked(`around ${row} ${f} ${s} ${d}`, () =>
    around(home, row, f, s, d !== "" && d !== "0"),
  );
  const address = (id: number) => href(["feature", nameOf(id)], { f, s, d });
  const before = asked.value?.before ?? null,
    after = asked.value?.after ?? null;
  return (
    <nav class="steps" aria-label="Previous and next feature">
      <Loaded asked={asked} what="its neighbors">
        {({ place, of }) => (
          <>
            {before === null ? (
              <span>first</span>
            ) : (
              <a href={address(before)} rel="prev">
                ‹ {nameOf(before)} <kbd>[</kbd>
              </a>
            )}
            <span>
              {place === null
                ? `not among the features of ${f}; previous and next by number`
                : `${show(place, "count")} of ${show(of, "count")}`}
              {f && place !== null ? (
                <>
                  {" "}
                  of <a href={href(["features"], { f, s, d })}>{f}</a>
                </>
              ) : null}
              {s && place !== null ? `, by ${s}` : ""}
            </span>
            {after === null ? (
              <span>last</span>
            ) : (
              <a href={address(after)} rel="next">
                {nameOf(after)} › <kbd>]</kbd>
              </a>
            )}
          </>
        )}
      </Loaded>
    </nav>
  );
}

export const feature: PageOf = {
  path: "feature",
  nav: null,
  title: (route) => route.path[1] ?? "Feature",
  Page,
};
