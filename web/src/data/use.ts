// Hooks by which a page asks for data: pending, then a value or an error that names the file.
import { useEffect, useState } from "preact/hooks";

export interface Asked<T> { value?: T; error?: Error; pending: boolean }

/** The result of `ask`, asked again when `key` changes; null asks for nothing. */
export function useAsked<T>(key: string | null, ask: () => Promise<T>): Asked<T> {
  const [state, set] = useState<Asked<T> & { key: string | null }>({ key, pending: key !== null });
  useEffect(() => {
    if (key === null) return;
    let live = true;
    set((old) => (old.key === key && old.value !== undefined ? old : { key, pending: true }));
    ask().then(
      (value) => { if (live) set({ key, value, pending: false }); },
      (error: Error) => { if (live) set({ key, error, pending: false }); },
    );
    return () => { live = false; };
  }, [key]);
  return state.key === key ? state : { pending: key !== null };
}
