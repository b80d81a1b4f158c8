"""Evidence for one feature is drawn here, each number beside its null."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.text import Text

from petriscope.atlas.evidence import checks
from petriscope.atlas.records import (
    Activation,
    Annotation,
    CurvePoint,
    DependencyMap,
    Feature,
    Gene,
    MotifHit,
    TopContext,
)
from petriscope.atlas.schema import Column, Declared, Thresholds, feature_name
from petriscope.atlas.show import bound, interval, number, show, spoken
from petriscope_tui.glyphs import Glyphs
from petriscope_tui.plots import Series, bar, line_plot, span, spark
from petriscope_tui.theme import Palette

MARKS = "ABCDEFGHIJKLMNOP"


def own(feature: Feature, columns: Sequence[Column], p: Palette) -> Text:
    """The study's own numbers of a feature, with what they are."""
    text = Text()
    for column in columns:
        text.append(f"{column.head or column.name:<10}", style=p.dim)
        text.append(f"{show(feature.values[column.name], column.form):>12}  ")
        text.append(f"{column.text}\n", style=p.dim)
    text.rstrip()
    return text


def identity(
    feature: Feature,
    thresholds: Thresholds,
    words: Declared,
    lineages: list[str],
    p: Palette,
    g: Glyphs,
    width: int,
    contrasted: bool = True,
) -> Text:
    """Name, label, checks."""
    v = feature.values
    text = Text()
    text.append(feature_name(feature.id), style=f"bold {p.accent}")
    text.append(f"  {v['label'] or 'no label'}", style="bold" if v["label"] else p.dim)
    if v["label"] and v["confidence"] is not None:
        text.append(f"  confidence {confidence(v['confidence'])}", style=p.dim)
    text.append("\n")
    if v["direction"]:
        text.append("higher ", style=p.dim)
        text.append(spoken(v["direction"]), style=p.side(v["direction"], words))
        if v["lineage"]:
            text.append(", strongest in ", style=p.dim)
            text.append(v["lineage"], style=p.stratum(v["lineage"], lineages))
        text.append("\n")
    text.append(
        f"density {show(v['density'], 'share', g.none)}   mean "
        f"{show(v['mean_activation'], 'number', g.none)}",
        style=p.dim,
    )
    if v["module"] is not None:
        text.append(f"   module {v['module']}", style=p.dim)
    text.append("\n\n")
    results = checks(feature, thresholds, words)
    if not contrasted:
        results = [check for check in results if check.holds is not None]
    held = sum(c.holds is True for c in results)
    measured = sum(c.holds is not None for c in results)
    text.append(f"{held} of {measured} measured checks hold\n", style="bold")
    for check in results:
        sign, color = {True: (g.yes, p.supported), False: (g.no, p.not_supported)}.get(
            check.holds, (g.unsure, p.dim)
        )  # type: ignore[arg-type]
        text.append(f"{sign} ", style=f"bold {color}")
        ask = check.ask if g.unicode else check.ask.replace("≥", ">=")
        found = check.found if check.holds is not None else "not measured"
        room = min(max(width - 2, 0), 60) - len(found)
        text.append(f"{_fit(ask, room - 1):<{max(room, 1)}}")
        text.append(f"{found}\n", style=color)
    text.rstrip()
    return text


def _fit(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "~"


def confidence(share: float) -> str:
    """In words: the labelling stage knows four grades."""
    return "high" if share > 0.9 else "medium" if share > 0.5 else "low" if share > 0 else "none"


def statistics(
    feature: Feature, words: Declared, lineages: list[str], p: Palette, g: Glyphs, width: int
) -> Text:
    """The corrected and the published score, then every stratum with its interval."""
    v, none = feature.values, g.none
    text = Text()
    text.append(f"{'corrected':<10}", style=p.dim)
    text.append(f"t {show(v['cds'], 'signed', none)}", style=f"bold {_signed(v['cds'], p)}")
    text.append(f"   p {show(v['p'], 'p', none)}   q {show(v['q'], 'p', none)}\n")
    text.append(
        f"{'':<10}g {show(v['effect'], 'signed', none)} "
        f"{interval(v['lo'], v['hi'], 'signed', none)}\n"
    )
    known = [] if v["p"] is None else [f"null percentile {_percentile(1 - v['p'])}"]
    if v["n_units"] is not None:
        known.append(f"n = {v['n_units']} {v['level'] or 'unit'}s")
    apart = "   " if 10 + len("   ".join(known)) <= width else f"\n{'':<10}"
    text.append(f"{'':<10}{apart.join(known)}", style=p.dim)
    text.append(
        f"\n{'published':<10}CDS {show(v['cds_published'], 'number', none)}   p "
        f"{_counted(v['p_published'], none)}\n",
        style=p.dim,
    )
    effects = feature.lineages
    if not effects:
        return text
    ends = [x for e in effects for x in (e.lo, e.hi, e.effect, 0.0) if x is not None]
    low, high = min(ends), max(ends)
    room = width - 52
    drawn = f"  {number(low)} to {number(high)}" if room >= 14 else ""
    text.append(
        f"\n{words.stratum[:8]:<9}{'t':>7} {'q':>7} {'g':>7} {'95 %':<15} n{drawn}\n", style=p.dim
    )
    for e in effects:
        text.append(f"{e.lineage[:8]:<9}", style=p.stratum(e.lineage, lineages))
        text.append(f"{show(e.t, 'signed', none):>7}", style=_signed(e.t, p))
        text.append(f" {show(e.q, 'p', none):>7} {show(e.effect, 'signed', none):>7} ")
        count = f"{interval(e.lo, e.hi, 'signed', none):<15} {show(e.n_units, 'count', none)}"
        text.append(f"{count:<19}" if room >= 8 else count, style=p.dim)
        if room >= 8:
            line = span(e.lo, e.effect, e.hi, low, high, room, g)
            text.append(line, style=_signed(e.effect, p))
        text.append("\n")
    text.rstrip()
    return text


def _counted(p: float | None, none: str) -> str:
    """The published p is a count over sign flips, which can be none."""
    return "0 (no flip reached it)" if p == 0 else show(p, "p", none)


def _percentile(share: float) -> str:
    return "> 99.99 %" if share > 0.9999 else f"{100 * share:.2f} %"


def _signed(value: float | None, p: Palette) -> str:
    return p.dim if value is None else p.target if value > 0 else p.reference


def activation(
    rows: list[Activation], words: Declared, lineages: list[str], p: Palette, g: Glyphs, width: int
) -> Text:
    """One line per unit: distribution of firing tokens, density, mean as a bar."""
    text = Text()
    if not rows:
        return Text("no activations in this atlas", style=p.dim)
    name_width = min(max(len(r.unit.name) for r in rows), 18)
    bins = max((len(r.histogram) for r in rows), default=0)
    top = max((r.mean or 0 for r in rows), default=0) or 1
    room = max(min(width - name_width - bins - 31, 30), 0)
    drawn = "distribution" if bins else ""
    head = f"{words.unit:<{name_width}}  {words.condition[:8]:<8} {'fires':>8} {'mean':>7}  "
    head += f"{drawn:<{bins}}"
    text.append(head[:width] + "\n", style=p.dim)
    before = None
    for r in rows:
        lineage, context = r.unit.values.get(words.stratum), r.unit.values.get(words.condition)
        if before not in (None, lineage):
            text.append("\n")
        before = lineage
        text.append(
            f"{r.unit.name[:name_width]:<{name_width}}  ", style=p.stratum(lineage, lineages)
        )
        color = p.side(context, words)
        text.append(f"{spoken(context, g.none)[:8]:<8}", style=color)
        text.append(f" {show(r.density, 'share', g.none):>8} {show(r.mean, 'number', g.none):>7}  ")
        text.append(spark(r.histogram, g), style=color)
        if room:
            text.append("  " + bar((r.mean or 0) / top, room, g).rstrip(), style=color)
        text.append("\n")
    maximum = next((r.maximum for r in rows if r.maximum), None)
    if maximum:
        text.append(
            f"distribution: log count of firing tokens, activation 0 to {number(maximum)}; bar: "
            f"mean",
            style=p.dim,
        )
    text.rstrip()
    return text


def states(
    rows: list[Annotation],
    alpha: float,
    colors: dict[str, str],
    p: Palette,
    g: Glyphs,
    width: int,
) -> Text:
    """ChromHMM odds ratios as bars in the states' official colors."""
    if not rows:
        return Text("no ChromHMM annotation", style=p.dim)
    text = Text()
    top = max((r.estimate or 0 for r in rows), default=0) or 1
    # The scope may be a file name: its stem says as much in less room.
    scopes = sorted({r.scope.partition(".")[0] for r in rows})
    where = min(max(len(s) for s in scopes) + 1, 11 if width < 62 else 16) if len(scopes) > 1 else 0
    room = width - 47 - where
    text.append(
        f"{'state':<12}{'where' if where else '':<{where}}{'odds':>6} {'95 %':<16} {'q':>8}\n",
        style=p.dim,
    )
    for r in rows:
        weak = r.q is None or r.q >= alpha
        name = (
            f"{r.term[:11]:<12}{r.scope.partition('.')[0][: where - 1] if where else '':<{where}}"
        )
        text.append(name, style=p.dim if weak else "bold")
        text.append(f"{show(r.estimate, 'number', g.none):>6} ")
        text.append(
            f"{interval(r.lo, r.hi, 'number', g.none):<16} {show(r.q, 'p', g.none):>8}  ",
            style=p.dim,
        )
        tint = p.faint if weak else colors.get(r.term, p.accent)
        text.append(
            (bar((r.estimate or 0) / top, room, g).rstrip() if room > 3 else "") + "\n", style=tint
        )
    against = f"; segmentation {scopes[0]}" if len(scopes) == 1 and scopes[0] else ""
    note = f"odds ratio where it fires; gray: q >= {bound(alpha)}{against}"
    text.append("\n".join(wrap(note, width)), style=p.dim)
    return text


def curve(
    points: list[CurvePoint], what: str, p: Palette, g: Glyphs, width: int, height: int = 14
) -> Text:
    """Ablation or steering curves, or those of scaling one feature; one letter per arm."""
    if not points:
        stage = "ablation" if what == "scaling" else what
        return Text(f"not measured for this feature alone (stage {stage})", style=p.dim)
    arms = sorted({(pt.arm, pt.lineage) for pt in points}, key=lambda a: (arm_rank(a[0]), str(a)))
    tints = (p.accent, p.target, p.reference, p.supported, p.not_supported, p.untestable, p.dim)
    series = []
    for i, (arm, lineage) in enumerate(arms):
        mine = [
            pt
            for pt in points
            if (pt.arm, pt.lineage) == (arm, lineage) and pt.estimate is not None
        ]
        name = arm.replace("_", " ") + (f" ({lineage})" if lineage else "")
        style = p.dim if arm_rank(arm) == 2 else tints[i % len(tints)]
        ends = [(pt.lo, pt.hi) if pt.lo is not None and pt.hi is not None else None for pt in mine]
        series.append(
            Series(
                name,
                [(pt.x, pt.estimate or 0.0) for pt in mine],
                style,
                MARKS[i % len(MARKS)],
                ends,
            )
        )
    if what == "ablation":
        return line_plot(
            series, width, height, g, p.dim, "features ablated", "mean |change of prediction|"
        )
    if what == "scaling":
        return line_plot(
            series,
            width,
            height,
            g,
            p.dim,
            "its activation times (0 ablates)",
            "change of prediction",
        )
    values = [v for pt in points for v in (pt.estimate, pt.lo, pt.hi) if v is not None]
    floor = -max(
        3 * max(values, default=0.0), 0.1
    )  # a large alpha can spoil everything: the gain must stay visible
    lowest = min(values, default=0.0)
    y = "gap closure" + (
        f" (drawn above {number(floor)}; lowest {number(lowest)})" if lowest < floor else ""
    )
    return line_plot(series, width, height, g, p.dim, "alpha", y, floor=floor)


def single(feature: Feature, causal: float, p: Palette, g: Glyphs, width: int) -> Text:
    """Ablation of this feature alone: the effect on a ruler of its null's percentiles, then its
    curve where one was run. ``causal`` is the percentile that counts."""
    effect, percentile = feature.values["causal_effect"], feature.values["causal_percentile"]
    text = Text()
    if effect is None and not feature.ablation:
        return Text(
            "not measured: the stage ablation takes single features among the strongest only",
            style=p.dim,
        )
    if effect is not None:
        text.append(f"{'alone':<10}", style=p.dim)
        text.append(number(effect), style="bold")
        text.append("  mean |change of prediction|\n", style=p.dim)
        text.append(f"{'null':<10}", style=p.dim)
        if percentile is None:
            text.append("not measured", style=p.dim)
        else:
            tint = p.supported if percentile >= causal else p.not_supported
            text.append(
                f"beats {show(percentile, 'share')} of random directions of equal size\n",
                style=tint,
            )
            cells = [g.rule] * max(min(width - 10, 60), 10)
            cells[round(causal * (len(cells) - 1))] = g.column
            cells[round(min(max(percentile, 0.0), 1.0) * (len(cells) - 1))] = g.dot
            text.append(f"{'':<10}{''.join(cells)}\n", style=tint)
            scale = "0 %" + f"{100 * causal:g} %".rjust(round(causal * (len(cells) - 1)) - 1)
            text.append(f"{'':<10}{scale}", style=p.dim)
        text.append("\n\n" if feature.ablation else "")
    if feature.ablation:
        text.append_text(curve(feature.ablation, "ablation", p, g, width))
    return text


def arm_rank(arm: str) -> int:
    """Order of arms: what the claim is about first, its rivals next, random and reconstruction
    controls last."""
    if arm in ("cds", "sae_additive", "this feature"):
        return 0
    return 2 if "random" in arm or "reconstruction" in arm or "shuffle" in arm else 1


def sequence(
    one: TopContext,
    hits: list[MotifHit] | None,
    genes: list[Gene],
    p: Palette,
    g: Glyphs,
    width: int,
) -> Text:
    """The bin's bases with motif hits colored (``hits`` None: not measured), and the genes around
    it."""
    text = Text()
    text.append(one.name, style=f"bold {p.accent}")
    text.append(f"  activation {number(one.activation)}  {one.unit.name}\n", style=p.dim)
    bases = one.values.get("sequence")
    if one.chrom is None or (bases and not bases.isupper()):
        for name, value in one.values.items():
            text.append(f"{name} ", style=p.dim)
            text.append_text(cased(str(value), p) if name == "sequence" else Text(str(value)))
            text.append("\n")
        text.rstrip()
        return text
    if bases:
        shown = [h for h in hits or () if h.end > one.start and h.start < one.end][:6]
        tints = (p.target, p.reference, *p.strata, p.accent)
        line_width = min(max(width, 16), 128)
        for start in range(0, len(bases), line_width):
            for i in range(start, min(start + line_width, len(bases))):
                hit = next(
                    (k for k, h in enumerate(shown) if h.start <= one.start + i < h.end), None
                )
                style = p.dim if hit is None else f"bold {tints[hit]} underline"
                text.append(bases[i].lower() if hit is None else bases[i].upper(), style=style)
            text.append("\n")
        for k, h in enumerate(shown):
            text.append(f"{h.motif} {h.strand or ''} ", style=f"bold {tints[k]}")
            text.append(f"{h.start + 1:,}  ", style=p.dim)
        if hits is None:
            text.append("motif hits: not measured in this run", style=p.dim)
        elif not shown:
            text.append("no motif hit in this bin", style=p.dim)
        text.append("\n")
    text.append_text(gene_track(one, genes, p, g, width))
    return text


def dependency(found: DependencyMap, p: Palette, g: Glyphs, width: int) -> Text:
    """A map of pieces: each row is substituted, each column read; the darker, the more the feature
    changes there."""
    text = Text()
    largest = max((x for row in found.cells for x in row if x is not None), default=0.0) or 1.0
    head = min(max(map(len, found.pieces), default=0), 12)
    wide = 2 if head + 1 + 2 * len(found.pieces) <= width else 1
    for piece, row in zip(found.pieces, found.cells):
        text.append(f"{piece[:head]:<{head}} ", style=p.dim)
        for value in row[: max((width - head - 1) // wide, 1)]:
            if value is None:
                text.append(g.rule * wide, style=p.faint)
            else:
                level = round((len(g.sparks) - 1) * max(value, 0.0) / largest)
                text.append(g.sparks[level] * wide, style=p.target)
        text.append("\n")
    note = (
        f"rows: substituted, columns: read, in {found.document}; itself: {g.rule}; "
        f"largest change {number(largest)}"
    )
    text.append("\n".join(wrap(note, width)), style=p.dim)
    return text


def cased(bases: str, p: Palette) -> Text:
    """Bases of a token, in upper case, stand out between those around it, in lower case."""
    text = Text()
    for base in bases:
        text.append(base, style=p.dim if base.islower() else f"bold {p.target}")
    return text


def gene_track(
    one: TopContext, genes: list[Gene], p: Palette, g: Glyphs, width: int, reach: int = 100_000
) -> Text:
    """A ruler of 200 kb with the bin in the middle and start sites as arrows; the nearest are
    named."""
    center = (one.start + one.end) // 2
    text = Text()
    near = sorted(
        (x for x in genes if abs(x.tss - center) <= reach), key=lambda x: abs(x.tss - center)
    )
    cells = [g.rule] * max(width - 1, 10)
    for x in near:
        place = round((x.tss - center + reach) / (2 * reach) * (len(cells) - 1))
        cells[place] = ">" if x.strand == "+" else "<"
    cells[len(cells) // 2] = g.dot
    text.append("".join(cells) + "\n", style=p.dim)
    if not near:
        text.append("no gene starts within 100 kb", style=p.dim)
    used = 0
    for x in near:
        distance = x.tss - center
        far = abs(distance) >= 1000
        label = f"{x.symbol} {f'{distance / 1000:+.1f} kb' if far else f'{distance:+d} bp'}   "
        used += len(label)
        if used > width:
            break
        text.append(x.symbol, style="bold")
        text.append(label[len(x.symbol) :], style=p.dim)
    return text
