// Chooses what is compared; what is chosen stands in the address.
import { useState } from "preact/hooks";
import type { Home } from "../../data/format";
import { idOf, nameOf } from "../../data/names";
import { go, href, type Route } from "../../route";
import { modelsOf, studyOptions } from "./studies";

/** Two features, two layers or two models; each form leads to an address. */
export function Choose({ home, route }: { home: Home; route: Route }) {
  return (
    <div class="choose">
      <Features route={route} />
      {home.layers.length > 1 ? <Layers home={home} route={route} /> : null}
      {studyOptions(home).length ? <Studies home={home} route={route} /> : null}
    </div>
  );
}

function Features({ route }: { route: Route }) {
  const [a, setA] = useState(route.query["a"] ?? ""),
    [b, setB] = useState(route.query["b"] ?? "");
  const [wrong, setWrong] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const ids = [a, b].map((text) => idOf(text)),
      bad = [a, b].find((_, i) => ids[i] === null);
    if (bad !== undefined) {
      setWrong(`${JSON.stringify(bad)} is no feature: write L6/1234`);
      return;
    }
    setWrong("");
    go(href(["compare"], { a: nameOf(ids[0]!), b: nameOf(ids[1]!) }));
  };
  return (
    <form onSubmit={submit}>
      <fieldset>
        <legend>Two features</legend>
        <label>
          left{" "}
          <input
            name="a"
            value={a}
            size={10}
            placeholder="L6/1234"
            onInput={(e) => setA(e.currentTarget.value)}
          />
        </label>
        <label>
          right{" "}
          <input
            name="b"
            value={b}
            size={10}
            placeholder="L9/2"
            onInput={(e) => setB(e.currentTarget.value)}
          />
        </label>
        <button type="submit">compare</button>
        {wrong ? (
          <span class="error" role="alert">
            {wrong}
          </span>
        ) : null}
      </fieldset>
    </form>
  );
}

function Layers({ home, route }: { home: Home; route: Route }) {
  const [first, second] = layersOf(home, route.query["layers"] ?? "") ?? [
    home.layers[0]!.layer,
    home.layers[home.layers.length - 1]!.layer,
  ];
  const [a, setA] = useState(first),
    [b, setB] = useState(second);
  const choice = (name: string, value: number, set: (layer: number) => void) => (
    <label>
      {name}{" "}
      <select value={String(value)} onChange={(e) => set(Number(e.currentTarget.value))}>
        {home.layers.map((l) => (
          <option value={String(l.layer)}>{l.name}</option>
        ))}
      </select>
    </label>
  );
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        go(href(["compare"], { layers: `${a},${b}` }));
      }}
    >
      <fieldset>
        <legend>Two layers</legend>
        {choice("left", a, setA)}
        {choice("right", b, setB)}
        <button type="submit">compare</button>
      </fieldset>
    </form>
  );
}

/** The layers of "2,5", or null. */
export function layersOf(home: Home, text: string): [number, number] | null {
  const match = /^\s*(\d+)\s*,\s*(\d+)\s*$/.exec(text);
  if (!match) return null;
  const pair = [Number(match[1]), Number(match[2])] as [number, number];
  return pair.every((n) => home.layers.some((l) => l.layer === n)) ? pair : null;
}

function Studies({ home, route }: { home: Home; route: Route }) {
  const options = studyOptions(home),
    [chosen, choose] = useState(route.query["study"] ?? options[0]!);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        go(href(["compare"], { study: chosen }));
      }}
    >
      <fieldset>
        <legend>{modelsOf(home).length > 1 ? "Two models or studies" : "Two studies"}</legend>
        <label>
          this atlas against{" "}
          <select value={chosen} onChange={(e) => choose(e.currentTarget.value)}>
            {options.map((name) => (
              <option value={name}>{name}</option>
            ))}
          </select>
        </label>
        <button type="submit">compare</button>
      </fieldset>
    </form>
  );
}
