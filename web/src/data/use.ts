// Hooks by which a page asks for data: pending, then a value or an error that names the file.
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Asked<T> { value?: T; error?: Error; pending: boolean }

/** The result of `ask`, asked again when `key` changes; null asks for nothing. Asked before the frame is
 * painted, not after it: a frame is a tenth of what an answer may take. */
export function useAsked<T>(key: string | null, ask: () => Promise<T>): Asked<T> {
  const [state, set] = useState<Asked<T> & { key: string | null }>({ key, pending: key !== null });
  useLayoutEffect(() => {
    if (key === null) return;
    let live = true;
    ask().then(
      (value) => { if (live) set({ key, value, pending: false }); },
      (error: Error) => { if (live) set({ key, error, pending: false }); },
    );
    return () => { live = false; };
  }, [key]);
  return state.key === key ? state : { pending: key !== null };
}

export interface Kept<T> extends Asked<T> {
  /** The key that the value belongs to. */
  of: string | null;
}

/** As useAsked, but the last value stays until the next one comes, so that nothing flickers. */
export function useKept<T>(key: string | null, ask: () => Promise<T>): Kept<T> {
  const asked = useAsked(key, ask);
  const last = useRef<{ of: string; value: T } | null>(null);
  if (asked.value !== undefined && key !== null) last.current = { of: key, value: asked.value };
  if (asked.value !== undefined) return { ...asked, of: key };
  return last.current ? { ...asked, value: last.current.value, of: last.current.of } : { ...asked, of: null };
}
