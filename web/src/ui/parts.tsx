// Small parts that every page uses.
import type { ComponentChildren } from "preact";
import type { Asked } from "../data/use";
import { nameOf } from "../data/names";
import { href } from "../route";

/** A link to a feature's page. */
export function FeatureLink({ id, label }: { id: number; label?: string | null }) {
  return (
    <a class="id" href={href(["feature", nameOf(id)])}>
      {nameOf(id)}
      {label ? ` ${label}` : ""}
    </a>
  );
}

/** A sentence where there is nothing to show: why, and the stage that would fill it. */
export function Empty({ why }: { why: string }) {
  return <p class="empty">{why}</p>;
}

/** What `asked` brings: a progress word, the error that names its file, or the page's part. */
export function Loaded<T>({
  asked,
  what,
  children,
}: {
  asked: Asked<T>;
  what: string;
  children: (value: T) => ComponentChildren;
}) {
  if (asked.error)
    return (
      <p class="error" role="alert">
        {asked.error.message}
      </p>
    );
  if (asked.value === undefined && !asked.pending) return null;
  if (asked.value === undefined)
    return (
      <p class="wait" aria-live="polite">
        Loading {what}…
      </p>
    );
  return <>{children(asked.value)}</>;
}

const VERDICT: Record<string, [string, string]> = {
  supported: ["yes", "✓"],
  "not supported": ["no", "✗"],
  "cannot be tested": ["unsure", "?"],
};

/** A verdict as symbol and word. */
export function Verdict({ verdict }: { verdict: string | null }) {
  const [kind, symbol] = VERDICT[verdict ?? ""] ?? ["unsure", "·"];
  return (
    <span class={`verdict ${kind}`}>
      <span aria-hidden="true">{symbol}</span> {verdict ?? "no verdict"}
    </span>
  );
}
