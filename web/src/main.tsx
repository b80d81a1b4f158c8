// The shell: loads data/home.js, finds the page of the address and draws navigation, search and page.
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { FORMAT, type Home } from "./data/format";
import { json } from "./data/chunk";
import { useAsked } from "./data/use";
import { PAGES } from "./pages/index";
import { href, useRoute, type Route } from "./route";
import { Boundary } from "./ui/boundary";
import { useKeys } from "./ui/keys";
import { Loaded } from "./ui/parts";
import { address } from "./ui/save";
import { Search } from "./ui/search";
import { useTheme } from "./ui/theme";

function App() {
  const asked = useAsked("home", () => json<Home>("home"));
  return (
    <Boundary what="home">
      <Loaded asked={asked} what="the atlas">
        {(home) => <Checked home={home} />}
      </Loaded>
    </Boundary>
  );
}

function Checked({ home }: { home: Home }) {
  if (!(home.format > FORMAT)) return <Shell home={home} />;
  return (
    <main>
      <h1>This atlas is newer than its page</h1>
      <p class="error" role="alert">
        The folder has format {home.format}, its page reads {FORMAT}; write the folder again:{" "}
        <code>petriscope atlas export</code>
      </p>
    </main>
  );
}

function Shell({ home }: { home: Home }) {
  const route = useRoute();
  const [theme, turn] = useTheme(route);
  const { dialog, show } = useKeys();
  const page = PAGES.find((p) => p.path === (route.path[0] ?? ""));
  const title = page ? page.title(route, home) : "No such page";
  const name = home.run["dataset"] ?? home.run["study"] ?? "atlas";
  const main = useArrival(route, `${title} · ${name} · Petriscope`);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <div class="bar-top">
          <a class="brand" href="#/">
            Petriscope<small>{name}</small>
          </a>
          <Search home={home} />
          <button class="theme" type="button" onClick={turn} aria-label={`Theme: ${theme}. Change`}>
            {{ auto: "◐ auto", light: "○ light", dark: "● dark" }[theme]}
          </button>
          <button class="keys" type="button" onClick={show} aria-label="Keys">
            <kbd>?</kbd>
          </button>
        </div>
        <Pages home={home} route={route} />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Boundary what={route.path.join("/")}>
          {page ? (
            <page.Page home={home} route={route} />
          ) : (
            <>
              <h1>No such page</h1>
              <p class="error" role="alert">
                There is no page “{route.path.join("/")}” here. The <a href="#/">overview</a> lists what there
                is.
              </p>
            </>
          )}
        </Boundary>
      </main>
      <Source home={home} />
      {dialog}
    </>
  );
}

/** Pages that have nothing to show stay reachable: they say why, and which stage would fill them. */
function Pages({ home, route }: { home: Home; route: Route }) {
  return (
    <nav class="pages" aria-label="Pages">
      {PAGES.filter((p) => p.nav).map((p) => {
        const why = home.empty[p.path];
        return (
          <a
            key={p.path}
            href={href(p.path ? [p.path] : [])}
            class={why ? "nothing" : undefined}
            title={why}
            aria-current={p.path === (route.path[0] ?? "") ? "page" : undefined}
          >
            {p.nav}
            {why ? <span class="hidden"> (nothing to show)</span> : null}
          </a>
        );
      })}
    </nav>
  );
}

function Source({ home }: { home: Home }) {
  const said = ["dataset", "source", "paper", "model", "models", "seed", "revision"]
    .filter((key) => home.run[key])
    .map((key) => `${key} ${home.run[key]}`);
  return (
    <footer>
      <p>{[...said, `petriscope ${home.program}`].join(" · ")}</p>
      <p class="address">{address()}</p>
    </footer>
  );
}

/** On a new page: its title, and the focus on its heading, so that a screen reader says where one is. */
function useArrival(route: Route, title: string) {
  const main = useRef<HTMLElement>(null);
  const path = route.path.join("/"),
    before = useRef<string | null>(null);
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    const first = before.current === null;
    before.current = path;
    if (first) return;
    window.scrollTo(0, 0);
    const heading = main.current?.querySelector<HTMLElement>("h1");
    heading?.setAttribute("tabindex", "-1");
    (heading ?? main.current)?.focus({ preventScroll: true });
  }, [path]);
  return main;
}

render(<App />, document.getElementById("app")!);
