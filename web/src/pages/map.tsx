import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["map"] ?? ""} />;
}

export const map: PageOf = { path: "map", nav: "Map", title: () => "Map", Page };
