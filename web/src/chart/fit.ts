// How wide a drawing may be: as wide as asked, or as the page lets it.
import { useEffect, useState } from "preact/hooks";

const room = () => Math.max(document.documentElement.clientWidth - 40, 280);

/** `wanted` pixels where there is room; less in a narrow window, so that text keeps its size. */
export function useFit(wanted: number): number {
  const [width, set] = useState(room);
  useEffect(() => {
    const changed = () => set(room());
    window.addEventListener("resize", changed);
    return () => window.removeEventListener("resize", changed);
  }, []);
  return Math.min(wanted, width);
}
