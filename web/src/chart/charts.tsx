// The drawings of all pages as SVG inside a <Figure>; each takes plain numbers and draws no number
// of its own. Colors come from classes (app.css), so that themes and print apply; `Figure` writes
// them into what it saves.
export { Lines, type Point, type Series } from "./lines";
export { Bars, Forest, rowsHeight, type BarRow, type ForestRow } from "./bars";
export { Histogram } from "./histogram";
export { Heat } from "./heat";
export { NodeLink } from "./nodelink";
export { Flows } from "./flows";
export { Dots } from "./dots";
