// Keys of every page, as in the terminal UI where they make sense, and the dialog that lists them.
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { go, href } from "../route";
import { closeLast } from "./escape";

const KEYS: [string, string][] = [
  ["/", "search"],
  ["f", "filter line of the feature browser"],
  ["[  ]", "previous and next feature or layer"],
  ["j  k", "down and up in a table; arrow keys do the same"],
  ["Page Up  Page Down", "a screen up and down in a table"],
  ["Enter", "open the chosen row or hit"],
  ["Esc", "close what was opened last"],
  ["?", "this list"],
];

/** Listens for keys; the returned dialog opens by `?` and by its button. */
export function useKeys(): { dialog: VNode; show: () => void } {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      // The browser itself closes an open dialog.
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "Escape") {
        closeLast();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target))
        return;
      const act = ACTIONS[event.key];
      if (event.key === "?") setOpen(true);
      else if (!act) return;
      else act();
      event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
  return { dialog: <Dialog open={open} close={() => setOpen(false)} />, show: () => setOpen(true) };
}

const ACTIONS: Record<string, () => void> = {
  "/": () => focusOn("search"),
  f: () => {
    if (!document.getElementById("filter")) go(href(["features"]));
    focusOn("filter");
  },
  "[": () => document.querySelector<HTMLElement>('main a[rel~="prev"]')?.click(),
  "]": () => document.querySelector<HTMLElement>('main a[rel~="next"]')?.click(),
};

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

/** Focuses a field by its id as soon as the page has drawn it, within a second. */
function focusOn(id: string, tries = 20): void {
  const field = document.getElementById(id);
  if (field instanceof HTMLInputElement) {
    field.focus();
    field.select();
  } else if (tries) setTimeout(() => focusOn(id, tries - 1), 50);
}

function Dialog({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} aria-labelledby="keys-head" onClose={close}>
      <h2 id="keys-head">Keys</h2>
      <dl class="facts">
        {KEYS.map(([key, does]) => [
          <dt>
            <kbd>{key}</kbd>
          </dt>,
          <dd>{does}</dd>,
        ])}
      </dl>
      <button type="button" onClick={close}>
        Close
      </button>
    </dialog>
  );
}
