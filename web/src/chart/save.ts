// A drawing as a file of its own: its computed styles written into it, always in the light colors,
// with its title above and its source below.
import type { Home } from "../data/format";
import { provenance } from "../ui/save";
import { textWidth } from "./frame";

const SVG = "http://www.w3.org/2000/svg";
const PAINT = ["fill", "fill-opacity", "stroke", "opacity"];
const STROKE = ["stroke-width", "stroke-dasharray", "stroke-opacity", "stroke-linejoin"];
const TEXT = ["font-size", "font-weight", "paint-order"];
const FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
const SMALL = 10,
  LINE = 14;

/** The drawing as SVG text; `width` and `height` are those of the drawing alone. */
export function svgText(
  home: Home,
  drawing: SVGSVGElement,
  title: string,
  alt: string,
): { text: string; width: number; height: number } {
  const width = drawing.viewBox.baseVal.width,
    inner = drawing.viewBox.baseVal.height;
  const source = provenance(home);
  const heads = wrapped(title, width - 8, 14),
    foot = wrapped(source.map(([name, text]) => `${name} ${text}`).join(" · "), width - 8, SMALL);
  const above = heads.length * 18 + 8,
    height = above + inner + foot.length * LINE + 10;
  const copy = document.createElementNS(SVG, "svg");
  for (const [name, value] of [
    ["xmlns", SVG],
    ["width", width],
    ["height", height],
    ["viewBox", `0 0 ${width} ${height}`],
    ["font-family", FONTS],
  ]) {
    copy.setAttribute(String(name), String(value));
  }
  add(copy, "title").textContent = title;
  add(copy, "desc").textContent = alt;
  add(copy, "metadata").textContent = source.map(([name, text]) => `${name}: ${text}`).join("\n");
  add(copy, "rect", { width, height, fill: "#ffffff" });
  heads.forEach((line, i) => {
    add(copy, "text", {
      x: 4,
      y: 18 + i * 18,
      "font-size": 14,
      "font-weight": 600,
      fill: "#1a1a1a",
    }).textContent = line;
  });
  const body = add(copy, "g", { transform: `translate(0,${above})` });
  body.append(...styled(drawing));
  foot.forEach((line, i) => {
    add(copy, "text", {
      x: 4,
      y: above + inner + LINE * (i + 1),
      "font-size": SMALL,
      fill: "#555555",
    }).textContent = line;
  });
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

/** The same drawing on a canvas at twice the size. */
export async function png(svg: { text: string; width: number; height: number }): Promise<Blob> {
  const address = URL.createObjectURL(new Blob([svg.text], { type: "image/svg+xml" }));
  try {
    const image = new Image(svg.width, svg.height);
    await new Promise<void>((resolve, reject) => {
      image.onload = () => resolve();
      image.onerror = () => reject(new Error("the browser cannot draw this figure as PNG; save SVG"));
      image.src = address;
    });
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(svg.width * 2);
    canvas.height = Math.round(svg.height * 2);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("the browser gives no canvas; save SVG");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) =>
      canvas.toBlob(
        (blob) => (blob ? resolve(blob) : reject(new Error("the browser cannot write PNG; save SVG"))),
        "image/png",
      ),
    );
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Children of the drawing with their styles as attributes, drawn once under the light theme. */
function styled(drawing: SVGSVGElement): Node[] {
  const stage = document.createElement("div");
  stage.className = "stage";
  stage.dataset["theme"] = "light";
  stage.setAttribute("aria-hidden", "true");
  const copy = drawing.cloneNode(true) as SVGSVGElement;
  stage.append(copy);
  document.body.append(stage);
  try {
    const elements = [...copy.querySelectorAll<SVGElement>("*")];
    for (const element of elements) {
      if (["title", "g", "a"].includes(element.tagName)) continue;
      const style = getComputedStyle(element),
        stroked = style.stroke !== "none";
      const names = [...PAINT, ...(stroked ? STROKE : []), ...(element.tagName === "text" ? TEXT : [])];
      for (const name of names) {
        const value = style.getPropertyValue(name);
        const plain =
          value === "" ||
          value === "normal" ||
          (value === "none" && name !== "fill") ||
          (value === "1" && name.endsWith("opacity"));
        if (!plain) element.setAttribute(name, value);
      }
    }
    // Styles of an element hang on the classes of those around it: these go last.
    for (const element of elements) {
      for (const name of ["class", "tabindex", "role", "aria-label"]) element.removeAttribute(name);
      // Of a link it leads nowhere from a file; of an image it is the picture itself.
      if (element.localName !== "image") element.removeAttribute("href");
    }
    return [...copy.childNodes];
  } finally {
    stage.remove();
  }
}

function add(parent: Element, tag: string, attributes: Record<string, string | number> = {}): Element {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  parent.append(element);
  return element;
}

function wrapped(text: string, room: number, size: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1)!;
    if (last && textWidth(`${last} ${word}`, size) > room) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines.filter(Boolean);
}
