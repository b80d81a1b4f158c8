import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["graph"] ?? ""} />;
}

export const graph: PageOf = { path: "graph", nav: "Graph", title: () => "Knowledge graph", Page };
