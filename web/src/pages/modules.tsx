import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["modules"] ?? ""} />;
}

export const modules: PageOf = { path: "modules", nav: "Modules", title: () => "Modules", Page };
