import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty[""] ?? ""} />;
}

export const overview: PageOf = { path: "", nav: "Overview", title: () => "Overview", Page };
