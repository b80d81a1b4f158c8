// A row of links of which one is what is shown: layers, strata, verdicts. The address holds the choice.
export interface Choice {
  text: string;
  href: string;
  on: boolean;
  title?: string;
}

export function Choices({ label, choices }: { label: string; choices: Choice[] }) {
  if (choices.length < 2) return null;
  return (
    <nav class="choices" aria-label={label}>
      <span class="label">{label}</span>
      {choices.map((c) => (
        <a key={c.href} href={c.href} title={c.title} aria-current={c.on ? "true" : undefined}>
          {c.text}
        </a>
      ))}
    </nav>
  );
}
