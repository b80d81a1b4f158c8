// A document of the graph: its content with the tokens marked on which a feature fires.
import { json } from "../data/chunk";
import type { Documents, Home } from "../data/format";
import { nameOf } from "../data/names";
import { useAsked } from "../data/use";
import { href, withQuery, type Route } from "../route";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import type { VNode } from "preact";

type Document = Documents[number];

export function DocumentOf({
  home,
  route,
  name,
  chosen,
}: {
  home: Home;
  route: Route;
  name: string;
  chosen: number | null;
}) {
  const asked = useAsked("documents", () => json<Documents>("documents"));
  return (
    <Loaded asked={asked} what="the documents">
      {(documents) => {
        const found = documents.find((d) => d.name === name);
        return found ? (
          <Content home={home} route={route} document={found} chosen={chosen} />
        ) : (
          <Empty why={`The atlas holds no content of ${name}.`} />
        );
      }}
    </Loaded>
  );
}

function Content({
  home,
  route,
  document,
  chosen,
}: {
  home: Home;
  route: Route;
  document: Document;
  chosen: number | null;
}) {
  const mark = document.features.find(([id]) => id === chosen) ?? document.features[0];
  const place =
    document.chrom === null || document.start === null
      ? null
      : `${document.chrom}:${document.start + 1}-${document.end ?? document.start + 1}`;
  const heads: Head[] = [
    { head: "feature", form: "id" },
    { head: "tokens", form: "count", text: "on which it fires" },
    { head: "sum", form: "number", text: "of its activation over them" },
    { head: "marked above", form: "text" },
  ];
  const rows: Cell[][] = document.features.map(([id, tokens, activation]) => [
    { value: nameOf(id), node: <FeatureLink id={id} /> },
    tokens,
    activation,
    {
      value: id === mark?.[0] ? "yes" : "no",
      node: id === mark?.[0] ? "marked" : <a href={withQuery(route, { f: nameOf(id) })}>mark it</a>,
    },
  ]);
  return (
    <section>
      <h2>{document.name}</h2>
      <p>
        {document.side ? `${home.words.condition}: ${document.side}. ` : ""}
        {document.detail ?? ""} {place ? <a href={href(["region", place])}>{place}</a> : null}{" "}
        {document.degree === null ? "" : `${show(document.degree, "count")} features fire in it.`}
      </p>
      {document.content === null ? (
        <p class="note">Its content is too long to be stored in the atlas.</p>
      ) : (
        <>
          {mark ? (
            <p class="note">
              Underlined: where {nameOf(mark[0])} fires ({show(mark[1], "count")} tokens
              {mark[3] ? "" : "; their places are not stored"}).
            </p>
          ) : null}
          <pre class="content" tabIndex={0} aria-label={`Content of ${document.name}`}>
            {marked(document.content, mark?.[3] ?? null)}
          </pre>
        </>
      )}
      <Table
        caption={`Features that fire in ${document.name}, most tokens first`}
        heads={heads}
        rows={rows}
      />
    </section>
  );
}

/** The text with spans "12-18,60-66" marked; spans that touch become one. */
export function marked(text: string, spans: string | null): (string | VNode)[] {
  const pairs = (spans ?? "")
    .split(",")
    .filter((part) => part !== "")
    .map((part) => part.split("-").map(Number))
    .map(([from, to]) => [Math.max(0, from!), Math.min(text.length, to!)] as const)
    .filter(([from, to]) => to > from)
    .sort((a, b) => a[0] - b[0]);
  const found: (string | VNode)[] = [];
  let at = 0;
  for (let i = 0; i < pairs.length;) {
    const from = pairs[i]![0];
    let to = pairs[i]![1];
    for (i++; i < pairs.length && pairs[i]![0] <= to; i++) to = Math.max(to, pairs[i]![1]);
    if (from > at) found.push(text.slice(at, from));
    found.push(<mark key={from}>{text.slice(from, to)}</mark>);
    at = to;
  }
  if (at < text.length) found.push(text.slice(at));
  return found;
}
