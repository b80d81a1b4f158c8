// The search box of every page: a combobox whose list grows as one types; Enter opens the best hit.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Home } from "../data/format";
import { search, type Found } from "../data/search";
import { go } from "../route";
import { useEscape } from "./escape";
import { grouped } from "./show";

const SHOWN = 30;
interface Answer {
  text: string;
  hits: Found[];
  error: string | null;
}

export function Search({ home }: { home: Home }) {
  const [text, setText] = useState("");
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const list = useId();
  const wanted = text.trim();
  useEscape(open, () => setOpen(false));
  useLayoutEffect(() => {
    if (!wanted) {
      setAnswer(null);
      return;
    }
    let live = true;
    search(home, wanted, SHOWN).then(
      (hits) => {
        if (live) {
          setAnswer({ text: wanted, hits, error: null });
          setAt(0);
        }
      },
      (error: Error) => {
        if (live) setAnswer({ text: wanted, hits: [], error: error.message });
      },
    );
    return () => {
      live = false;
    };
  }, [wanted]);
  useEffect(() => {
    document.getElementById(`${list}-${at}`)?.scrollIntoView({ block: "nearest" });
  }, [at, open]);
  const hits = answer?.text === wanted ? answer.hits : [];
  const shown = open && wanted !== "";
  const visit = (hit: Found) => {
    setOpen(false);
    setText("");
    go(hit.href);
  };
  const typed = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setOpen(true);
      if (open && hits.length) setAt((at + step + hits.length) % hits.length);
    } else if (event.key === "Enter" && hits[at]) {
      event.preventDefault();
      visit(hits[at]);
    } else if (event.key === "Escape") {
      // The first Escape closes the list and keeps what was typed, the second empties the box.
      if (shown) event.preventDefault();
      else setText("");
    }
  };
  return (
    <div
      class="find"
      ref={box}
      role="search"
      onFocusOut={(e) => {
        if (!box.current?.contains(e.relatedTarget as Node | null)) setOpen(false);
      }}
    >
      <input
        id="search"
        type="search"
        list={undefined}
        role="combobox"
        aria-label="Search features, genes, terms and regions"
        placeholder="Search features, genes, terms, regions  /"
        autocomplete="off"
        spellcheck={false}
        aria-expanded={shown}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={shown && hits.length ? `${list}-${at}` : undefined}
        value={text}
        onInput={(e) => {
          setText(e.currentTarget.value);
          setOpen(true);
        }}
        onFocus={() => setOpen(true)}
        onKeyDown={typed}
      />
      <ul
        class="hits"
        id={list}
        data-shows={answer?.text}
        role="listbox"
        aria-label="Search results"
        hidden={!shown || hits.length === 0}
      >
        {shown
          ? hits.map((hit, i) => (
              <li
                key={`${hit.kind} ${hit.name}`}
                id={`${list}-${i}`}
                role="option"
                aria-selected={i === at}
                onMouseDown={(e) => {
                  e.preventDefault();
                  visit(hit);
                }}
                onMouseMove={() => {
                  if (i !== at) setAt(i);
                }}
              >
                <span class="kind">{hit.kind.replaceAll("_", " ")}</span>
                <span>{hit.name}</span>
                <span class="count">
                  {hit.features === null
                    ? ""
                    : `${grouped(hit.features)} ${hit.features === 1 ? "feature" : "features"}`}
                </span>
              </li>
            ))
          : null}
      </ul>
      {shown && hits.length === 0 ? (
        <div class="hits">
          <p class="said" role={answer?.error ? "alert" : undefined}>
            {said(answer, wanted)}
          </p>
        </div>
      ) : null}
      <span class="hidden" aria-live="polite">
        {shown && answer?.text === wanted ? `${hits.length} results` : ""}
      </span>
    </div>
  );
}

function said(answer: Answer | null, wanted: string): string {
  if (answer?.text !== wanted) return "Searching…";
  return answer.error ?? `Nothing is named like “${wanted}”.`;
}
