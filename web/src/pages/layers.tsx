import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["layers"] ?? ""} />;
}

export const layers: PageOf = { path: "layers", nav: "Layers", title: () => "Layers", Page };
