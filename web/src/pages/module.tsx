import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["module"] ?? ""} />;
}

export const module: PageOf = { path: "module", nav: null, title: () => "Module", Page };
