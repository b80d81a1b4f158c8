import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["layer"] ?? ""} />;
}

export const layer: PageOf = { path: "layer", nav: null, title: () => "Layer", Page };
