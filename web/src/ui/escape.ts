// Escape closes what was opened last: whoever opens something says here how to close it.
import { useEffect, useRef } from "preact/hooks";

const opened: (() => void)[] = [];

/** While `open`, Escape calls `close` unless something was opened later. */
export function useEscape(open: boolean, close: () => void): void {
  const latest = useRef(close);
  latest.current = close;
  useEffect(() => {
    if (!open) return;
    const entry = () => latest.current();
    opened.push(entry);
    return () => {
      opened.splice(opened.indexOf(entry), 1);
    };
  }, [open]);
}

/** Closes the last thing opened; whether there was one. */
export function closeLast(): boolean {
  const close = opened.at(-1);
  close?.();
  return close !== undefined;
}
