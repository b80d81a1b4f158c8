// The shell: loads data/home.js, finds the page of the address and draws navigation, search and page.
import { render } from "preact";
import { FORMAT, type Home } from "./data/format";
import { json } from "./data/chunk";
import { useAsked } from "./data/use";
import { PAGES } from "./pages/index";
import { href, useRoute } from "./route";
import { Empty, Loaded } from "./ui/parts";

function App() {
  const asked = useAsked("home", () => json<Home>("home"));
  return <Loaded asked={asked} what="the atlas">{(home) => <Shell home={home} />}</Loaded>;
}

function Shell({ home }: { home: Home }) {
  const route = useRoute();
  if (home.format > FORMAT) {
    return <p class="error" role="alert">This folder has format {home.format}, its page reads {FORMAT}; write it again: petriscope atlas export</p>;
  }
  const page = PAGES.find((p) => p.path === (route.path[0] ?? ""));
  return (
    <>
      <nav>{PAGES.filter((p) => p.nav).map((p) => <a href={href(p.path ? [p.path] : [])}>{p.nav}</a>)}</nav>
      <main>{page ? <page.Page home={home} route={route} /> : <Empty why={`There is no page ${route.path.join("/")}.`} />}</main>
    </>
  );
}

render(<App />, document.getElementById("app")!);
