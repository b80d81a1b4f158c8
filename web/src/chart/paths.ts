// Paths of the drawings, with coordinates to a tenth of a pixel.

const cut = (value: number) => Math.round(value * 10) / 10;

/** A broken line through points; null ends a piece. */
export function linePath(points: ([number, number] | null)[]): string {
  let path = "",
    pen = false;
  for (const point of points) {
    if (point) path += `${pen ? "L" : "M"}${cut(point[0])},${cut(point[1])}`;
    pen = point !== null;
  }
  return path;
}

/** The area between an upper and a lower edge: [x, y of one, y of the other]; null ends a piece. */
export function areaPath(points: ([number, number, number] | null)[]): string {
  let path = "",
    piece: [number, number, number][] = [];
  for (const point of [...points, null]) {
    if (point) {
      piece.push(point);
      continue;
    }
    if (piece.length) {
      const there = piece.map(([x, , y]) => `${cut(x)},${cut(y)}`).join("L");
      const back = piece.map(([x, y]) => `${cut(x)},${cut(y)}`).reverse().join("L");
      path += `M${there}L${back}Z`;
    }
    piece = [];
  }
  return path;
}

/** A ribbon's middle between two nodes: level at both ends. */
export function ribbonPath(x0: number, y0: number, x1: number, y1: number): string {
  const middle = (x0 + x1) / 2;
  return `M${cut(x0)},${cut(y0)}C${cut(middle)},${cut(y0)} ${cut(middle)},${cut(y1)} ${cut(x1)},${cut(y1)}`;
}

const polygon = (corners: [number, number][], area: number, of: number) => {
  const scale = Math.sqrt(area / of);
  return `M${corners.map(([x, y]) => `${cut(x * scale)},${cut(y * scale)}`).join("L")}Z`;
};
const round = (n: number, at: (i: number) => number): [number, number][] =>
  Array.from({ length: n }, (_, i) => {
    const turn = (2 * Math.PI * i) / n - Math.PI / 2;
    return [Math.cos(turn) * at(i), Math.sin(turn) * at(i)];
  });

/** Symbols of an area, around the origin: circle, square, triangle, diamond, cross, star, the
 * triangle on its head. */
export const SYMBOLS: ((area: number) => string)[] = [
  (area) => {
    const r = cut(Math.sqrt(area / Math.PI));
    return `M${r},0A${r},${r},0,1,1,${-r},0A${r},${r},0,1,1,${r},0Z`;
  },
  (area) => polygon([[-1, -1], [1, -1], [1, 1], [-1, 1]], area, 4),
  (area) => polygon(round(3, () => 1), area, (3 * Math.sqrt(3)) / 4),
  (area) => polygon([[0, -1.6], [1, 0], [0, 1.6], [-1, 0]], area, 3.2),
  (area) =>
    polygon(
      [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]],
      area,
      20,
    ),
  (area) => polygon(round(10, (i) => (i % 2 ? 0.4 : 1)), area, 1.18),
  (area) => polygon(round(3, () => 1).map(([x, y]) => [x, -y] as [number, number]), area, (3 * Math.sqrt(3)) / 4),
];
